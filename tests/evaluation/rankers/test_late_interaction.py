import numpy as np
import pytest

from kalm_reranker.errors import DamagedStoreError, InvalidCheckpointError
from kalm_reranker.evaluation.rankers.late_interaction import LateInteractionRanker
from tests.evaluation.rankers.scored import assert_same_scores, scored
from tests.evaluation.rankers.tiny_models import TOKEN_WIDTH, save_encoder, save_late_interaction


def loaded(folder):
    from sentence_transformers import MultiVectorEncoder

    return MultiVectorEncoder(str(folder), device="cpu", local_files_only=True)


def similarities(folder, task, prompts=None):
    """The scores that sentence-transformers itself gives."""
    model = loaded(folder)
    run = {}
    for query_id, found in task.candidates.items():
        options = {"prompt": prompts[query_id]} if prompts else {}
        query = model.encode_query([task.queries[query_id]], **options)
        passages = model.encode_document([task.passages[key] for key in found])
        run[query_id] = dict(zip(found, model.similarity(query, passages)[0].tolist(), strict=True))
    return run


def test_scores_are_those_of_sentence_transformers(late_interaction, make_task):
    task = make_task()
    ranker = LateInteractionRanker(str(late_interaction), device="cpu", batch_size=2)
    found = scored(ranker, task)
    assert_same_scores(found, similarities(late_interaction, task))
    assert len({round(score, 4) for score in found["q1"].values()}) == 4
    assert ranker.score("q1", "red fox", []) == {}
    assert (ranker.info.name, ranker.info.kind) == ("late", "late interaction")
    ranker.close()
    ranker.close()


def test_the_similarity_is_computed_by_hand_as_well(late_interaction, make_task):
    task = make_task({"q1": "abe"})
    found = scored(LateInteractionRanker(str(late_interaction), device="cpu"), task)["q1"]
    model = loaded(late_interaction)
    query = model.encode_query([task.queries["q1"]], convert_to_numpy=True)[0]
    for passage_id in "abe":
        passage = model.encode_document([task.passages[passage_id]], convert_to_numpy=True)[0]
        assert found[passage_id] == pytest.approx((query @ passage.T).max(1).sum(), abs=1e-5)


def test_bytes_are_those_of_all_tokens(late_interaction, make_task):
    task = make_task()
    ranker = LateInteractionRanker(str(late_interaction), device="cpu")
    ranker.prepare(task)
    passages = [task.passages[key] for key in "abcdef"]
    lengths = [len(one) for one in loaded(late_interaction).encode_document(passages)]
    assert ranker.bytes_per_passage() == np.mean(lengths) * TOKEN_WIDTH * 4
    ranker.close()


def test_vectors_are_used_again(late_interaction, make_task):
    task = make_task()
    expected = scored(LateInteractionRanker(str(late_interaction), device="cpu"), task)
    files = sorted(task.folder.iterdir())
    before = [path.stat().st_mtime_ns for path in files]
    assert [path.name for path in files] == ["vectors.f32", "vectors.jsonl"]
    assert scored(LateInteractionRanker(str(late_interaction), device="cpu"), task) == expected
    assert [path.stat().st_mtime_ns for path in files] == before


def test_a_passage_without_a_vector_comes_last_and_is_told(models, make_task):
    # A model that scores none of the tokens of c and f.
    folder = save_late_interaction(
        models / "skipping", skipped=["red", "fox", "[CLS]", "[SEP]"], seed=1
    )
    task = make_task({"q1": "abc"})
    ranker = LateInteractionRanker(str(folder), device="cpu")
    found = scored(ranker, task)["q1"]
    assert ranker.notes == ("skipping has no vector for 1 candidate passages.",)
    assert found["c"] < min(found["a"], found["b"]) - 1
    assert_same_scores({"q1": found}, similarities(folder, task))
    assert scored(LateInteractionRanker(str(folder), device="cpu"), task)["q1"] == found


def test_instructions_take_the_place_of_the_models_own(models, make_task):
    folder = save_late_interaction(
        models / "instructed-late", prompt="Instruct: find bodies\nQuery: "
    )
    task = make_task(instruction="the capital", query_instructions={"q2": "red fox"})
    ranker = LateInteractionRanker(str(folder), device="cpu")
    found = scored(ranker, task)
    prompts = {"q1": "Instruct: the capital\nQuery: ", "q2": "Instruct: red fox\nQuery: "}
    assert_same_scores(found, similarities(folder, task, prompts))
    assert ranker.notes == ()
    assert_same_scores(scored(ranker, make_task()), similarities(folder, make_task()))
    ranker.close()


def test_an_instruction_that_is_not_read_is_told(late_interaction, make_task):
    ranker = LateInteractionRanker(str(late_interaction), device="cpu")
    expected = scored(ranker, make_task())
    assert scored(ranker, make_task(instruction="find bodies")) == expected
    assert ranker.notes == ("late has no prompt that takes an instruction; it got none.",)
    ranker.close()


def test_damaged_vectors_are_noticed(late_interaction, make_task):
    task = make_task()
    ranker = LateInteractionRanker(str(late_interaction), device="cpu")
    ranker.prepare(task)
    path = task.folder / "vectors.f32"
    data = bytearray(path.read_bytes())
    data[5] ^= 1
    path.write_bytes(data)
    with pytest.raises(DamagedStoreError, match="is not what was written"):
        ranker.score("q1", "red fox", list("abcdef"))
    ranker.close()


def test_models_of_other_kinds_are_refused(cross_encoder, embedding, models):
    with pytest.raises(InvalidCheckpointError, match=r"saved as CrossEncoder.*cross-encoder:"):
        LateInteractionRanker(str(cross_encoder))
    with pytest.raises(InvalidCheckpointError, match=r"saved as SentenceTransf.*embedding:"):
        LateInteractionRanker(str(embedding))
    plain = save_encoder(models / "no-projection")
    with pytest.raises(InvalidCheckpointError, match="lack the head of a late-interaction model"):
        LateInteractionRanker(str(plain))
