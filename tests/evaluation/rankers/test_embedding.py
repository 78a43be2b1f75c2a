import numpy as np
import pytest

from kalm_reranker.errors import InvalidCheckpointError
from kalm_reranker.evaluation.rankers.embedding import EmbeddingRanker
from tests.evaluation.rankers.scored import assert_same_scores, scored
from tests.evaluation.rankers.tiny_models import WIDTH, save_embedding

FILES = ("vectors.jsonl", "vectors.f32")


def cosines(folder, task):
    """The scores that sentence-transformers itself gives."""
    from sentence_transformers import SentenceTransformer

    model = SentenceTransformer(str(folder), device="cpu", local_files_only=True)
    run = {}
    for query_id, found in task.candidates.items():
        query = model.encode_query([task.queries[query_id]])
        passages = model.encode_document([task.passages[key] for key in found])
        run[query_id] = dict(zip(found, model.similarity(query, passages)[0].tolist(), strict=True))
    return run


def identities(folder):
    return [(folder / name).stat().st_mtime_ns for name in FILES]


def contents(folder):
    return [(folder / name).read_bytes() for name in FILES]


def test_scores_are_the_cosines_of_sentence_transformers(embedding, make_task):
    task = make_task()
    ranker = EmbeddingRanker(str(embedding), device="cpu", batch_size=2)
    found = scored(ranker, task)
    assert_same_scores(found, cosines(embedding, task))
    assert len({round(score, 4) for score in found["q1"].values()}) == 4
    assert ranker.bytes_per_passage() == 4 * WIDTH
    assert ranker.score("q1", "red fox", []) == {}
    assert (ranker.info.name, ranker.info.kind) == ("embedding", "embedding")
    ranker.close()
    ranker.close()


def test_vectors_are_used_again(embedding, make_task):
    task = make_task()
    expected = scored(EmbeddingRanker(str(embedding), device="cpu"), task)
    # Six candidates, of which two have the same text.
    assert (task.folder / "vectors.f32").stat().st_size == 5 * 4 * WIDTH
    before = identities(task.folder)
    assert scored(EmbeddingRanker(str(embedding), device="cpu"), task) == expected
    assert identities(task.folder) == before


def test_only_new_candidates_are_encoded(embedding, make_task):
    first = make_task({"q1": "ab"})
    scored(EmbeddingRanker(str(embedding), device="cpu"), first)
    before = contents(first.folder)
    more = make_task({"q1": "abce"})
    found = scored(EmbeddingRanker(str(embedding), device="cpu"), more)
    for old, new in zip(before, contents(first.folder), strict=True):
        assert new.startswith(old)
        assert len(new) > len(old)
    assert_same_scores(found, cosines(embedding, more))


def test_vectors_of_another_model_are_dropped(embedding, models, make_task):
    other = save_embedding(models / "second", seed=3)
    task = make_task()
    scored(EmbeddingRanker(str(embedding), device="cpu"), task)
    assert_same_scores(
        scored(EmbeddingRanker(str(other), device="cpu"), task), cosines(other, task)
    )
    assert (task.folder / "vectors.f32").stat().st_size == 5 * 4 * WIDTH


def test_the_next_dataset_replaces_the_last(embedding, make_task, tmp_path):
    ranker = EmbeddingRanker(str(embedding), device="cpu")
    scored(ranker, make_task())
    task = make_task({"q2": "ga"}, folder=tmp_path / "second")
    assert_same_scores(scored(ranker, task), cosines(embedding, task))


def test_queries_without_candidates(embedding, make_task):
    ranker = EmbeddingRanker(str(embedding), device="cpu")
    assert scored(ranker, make_task({"q1": "", "q2": ""})) == {"q1": {}, "q2": {}}
    assert ranker.bytes_per_passage() is None


def test_an_instruction_that_is_not_read_is_told(embedding, make_task):
    ranker = EmbeddingRanker(str(embedding), device="cpu", name="mine")
    ranker.prepare(make_task(instruction="find bodies"))
    assert ranker.notes == ("mine is asked with its own prompt, not the instruction.",)
    ranker.prepare(make_task())
    assert ranker.notes == ()


def test_models_of_other_kinds_are_refused(cross_encoder, late_interaction):
    with pytest.raises(InvalidCheckpointError, match=r"saved as CrossEncoder.*cross-encoder:"):
        EmbeddingRanker(str(cross_encoder))
    with pytest.raises(InvalidCheckpointError, match=r"saved as MultiVector.*late-interaction:"):
        EmbeddingRanker(str(late_interaction))


def test_scores_do_not_depend_on_which_run_encoded_them(embedding, make_task):
    alone = scored(EmbeddingRanker(str(embedding), device="cpu"), make_task({"q1": "a"}))
    together = scored(EmbeddingRanker(str(embedding), device="cpu"), make_task({"q1": "abcde"}))
    assert np.isclose(alone["q1"]["a"], together["q1"]["a"], atol=0)
