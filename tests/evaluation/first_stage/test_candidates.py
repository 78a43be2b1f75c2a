import gzip
import json
from dataclasses import replace

import numpy as np
import pytest

from kalm_reranker.errors import (
    CheckpointNotFoundError,
    DataFileError,
    InputError,
    InvalidCheckpointError,
    InvalidOptionError,
)
from kalm_reranker.evaluation.data.collection import Collection
from kalm_reranker.evaluation.first_stage import dense_search as dense_search_module
from kalm_reranker.evaluation.first_stage.candidates import FirstStageSpec, find_candidates
from kalm_reranker.evaluation.first_stage.dense_search import Best, dense_search
from kalm_reranker.search.bm25 import BM25FirstStage
from kalm_reranker.search.dense_model import DenseModel
from kalm_reranker.search.ranking import ranked_ids
from tests.evaluation.rankers.tiny_models import save_cross_encoder, save_embedding

pytest.importorskip("bm25s")

PASSAGES = {
    "p1": "Gravity attracts bodies, said the man with the apple.",
    "p2": "Beijing is the capital of China.",
    "p3": "A red fox jumps over the lazy dog.",
    "p4": "Gravity and gravity waves attract physicists.",
    "p5": "",
}
QUERIES = {"q1": "what attracts bodies by gravity", "q2": "the capital of China", "q3": "zzz"}


@pytest.fixture
def collection():
    return Collection(
        name="toy",
        passages=dict(PASSAGES),
        queries=dict(QUERIES),
        qrels={"q1": {"p1": 1}, "q2": {"p2": 1}, "q3": {"p3": 1}},
        titles=dict.fromkeys(PASSAGES, ""),
        num_dropped_queries=0,
        num_dangling_judgements=0,
    )


@pytest.fixture
def find(collection, tmp_path):
    def find(spec="bm25", of=None, **options):
        options = {"top_k": 3, "folder": tmp_path / "kept", **options}
        return find_candidates(FirstStageSpec.parse(str(spec)), of or collection, **options)

    return find


@pytest.fixture
def write_run(tmp_path):
    def write(text, name="run.trec"):
        path = tmp_path / name
        path.parent.mkdir(exist_ok=True)
        if name.endswith(".gz"):
            path.write_bytes(gzip.compress(text.encode()))
        else:
            path.write_text(text)
        return path

    return write


@pytest.fixture(scope="module")
def models(tmp_path_factory):
    pytest.importorskip("sentence_transformers")
    return tmp_path_factory.mktemp("models")


@pytest.fixture(scope="module")
def dense(models):
    return save_embedding(models / "dense")


# Specifications


@pytest.mark.parametrize(
    ("text", "again"),
    [
        ("bm25", "bm25:k1=0.9,b=0.4,language=auto"),
        ("bm25:", "bm25:k1=0.9,b=0.4,language=auto"),
        ("bm25: b = 0.75 ,k1=1.2", "bm25:k1=1.2,b=0.75,language=auto"),
        ("bm25:language=other", "bm25:k1=0.9,b=0.4,language=other"),
        ("dense", "dense:kalm-embedding"),
        ("dense:org/name", "dense:org/name"),
        ("run:/a:b/c.trec", "run:/a:b/c.trec"),
        (" mteb:folder ", "mteb:folder"),
        ("given", "given"),
    ],
)
def test_a_specification_can_be_written_and_read_again(text, again):
    spec = FirstStageSpec.parse(text)
    assert str(spec) == again
    assert FirstStageSpec.parse(again) == spec


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("bm52", r"no first stage 'bm52'.*Did you mean 'bm25'"),
        ("Dense:x", r"no first stage 'Dense:x'.*Did you mean 'dense'"),
        ("", "no first stage ''"),
        ("run:", "no first stage 'run:'"),
        ("mteb", "no first stage 'mteb'"),
        ("given:x", "no first stage 'given:x'"),
        ("bm25:k1", "k1 must be a number; got ''"),
        ("bm25:k1=one", "k1 must be a number; got 'one'"),
        ("bm25:k1=-1", "k1 must be at least 0"),
        ("bm25:k1=nan", "k1 must be at least 0"),
        ("bm25:k1=inf", "k1 must be at least 0"),
        ("bm25:b=1.5", "b must be between 0 and 1"),
        ("bm25:k=1", "has the settings 'k1', 'b' and 'language'; got 'k=1'"),
        ("bm25:b=1,b=0", "sets 'b' twice"),
        ("bm25:language=latin", "language must be one of"),
    ],
)
def test_what_is_no_specification_is_refused(text, message):
    with pytest.raises(InvalidOptionError, match=message):
        FirstStageSpec.parse(text)


# BM25, and what is kept


def test_bm25_finds_candidates_and_says_how(find):
    found = find()
    assert list(found.run) == list(QUERIES)
    assert found.run == BM25FirstStage(PASSAGES).search(QUERIES, 3)
    assert list(found.run["q2"]) == ["p2"]
    assert found.description.startswith("BM25 (bm25s ")
    assert "k1 = 0.9, b = 0.4; English words without stop words" in found.description
    assert found.description.endswith(", best 3 passages of a query")
    assert found.notes == ("BM25: 1 of 3 judged queries have no candidate and count as 0 ('q3').",)
    assert not found.reused


def test_settings_of_bm25_are_used(find, tmp_path):
    found = find("bm25:k1=2,b=1,language=other")
    assert found.run == BM25FirstStage(PASSAGES, k1=2, b=1, language="other").search(QUERIES, 3)
    assert "k1 = 2, b = 1; words, and n-grams" in found.description


def test_candidates_are_used_again(find, tmp_path):
    first = find()
    before = {path.name: path.stat().st_mtime_ns for path in (tmp_path / "kept").iterdir()}
    assert before.keys() == {"candidates.trec.gz", "candidates.json"}
    again = find()
    assert again == replace(first, reused=True)
    assert [list(scores) for scores in again.run.values()] == [
        list(scores) for scores in first.run.values()
    ]
    assert before == {path.name: path.stat().st_mtime_ns for path in (tmp_path / "kept").iterdir()}


def test_candidates_of_anything_else_are_found_anew(find, collection):
    find()
    other_text = replace(collection, passages={**PASSAGES, "p3": "the capital of gravity"})
    other_ids = replace(collection, passages={**PASSAGES, "p6": ""})
    other_query = replace(collection, queries={**QUERIES, "q3": "red fox"})
    for changes, named in [
        ({"spec": "bm25:k1=1"}, "first stage"),
        ({"top_k": 1, "spec": "bm25:k1=1"}, "top k"),
        ({"top_k": 3}, "first stage, top k"),
        ({"of": other_text}, "collection"),
        ({"of": other_ids}, "collection"),
        ({"of": other_query}, "collection"),
        ({"of": replace(collection, excludes_own_id=True)}, "collection"),
        ({"of": replace(collection, pools=dict.fromkeys(QUERIES, ("p1",)))}, "collection"),
    ]:
        found = find(**changes)
        assert not found.reused
        assert found.notes[-1] == (
            f"Candidates were found anew: the saved ones have another {named}."
        )
        assert find(**changes).reused


def test_candidates_do_not_depend_on_the_order_of_the_collection(find, collection):
    find()
    shuffled = replace(collection, passages=dict(reversed(PASSAGES.items())))
    assert find(of=shuffled).reused


@pytest.mark.parametrize("damage", ["json", "run", "fields", "version", "no run", "list"])
def test_damaged_candidates_are_found_anew(find, tmp_path, damage):
    first = find()
    record, run = tmp_path / "kept" / "candidates.json", tmp_path / "kept" / "candidates.trec.gz"
    content = json.loads(record.read_text())
    if damage == "json":
        record.write_text(record.read_text()[:-20])
    elif damage == "run":
        run.write_bytes(gzip.compress(b"q1 Q0 p3 1 5.0 t\n"))
    elif damage == "no run":
        run.unlink()
    elif damage == "list":
        record.write_text("[]")
    else:
        content["format" if damage == "version" else "sha256"] = 0
        record.write_text(json.dumps(content))
    again = find()
    assert again.run == first.run
    assert again.notes[-1].startswith("Candidates were found anew: ")
    assert find().reused


def test_ids_with_white_space_are_kept_as_json(find, collection, tmp_path):
    passages = {f"{key} \u3000x\n": text for key, text in PASSAGES.items()}
    spaced = replace(collection, passages=passages)
    first = find(of=spaced)
    assert list(first.run["q2"]) == ["p2 \u3000x\n"]
    assert {path.name for path in (tmp_path / "kept").iterdir()} == {
        "candidates.jsonl.gz",
        "candidates.json",
    }
    assert find(of=spaced) == replace(first, reused=True)
    find()  # the other form takes its place
    assert {path.name for path in (tmp_path / "kept").iterdir()} == {
        "candidates.trec.gz",
        "candidates.json",
    }


def test_a_folder_that_cannot_be_written_is_named(find, tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(DataFileError, match=r"file/sub cannot be written|file/sub"):
        find(folder=tmp_path / "file" / "sub")


def test_a_collection_without_texts_is_refused(find, collection):
    with pytest.raises(InputError, match="'toy' has 0 passages and 3 judged queries"):
        find(of=replace(collection, passages={}))
    with pytest.raises(InputError, match="'toy' has 5 passages and 0 judged queries"):
        find(of=replace(collection, queries={}))


def test_a_first_stage_that_finds_nothing_is_an_error(find, collection, tmp_path):
    nothing = replace(collection, queries=dict.fromkeys(QUERIES, "xyzzy"))
    with pytest.raises(InputError, match="BM25 gives no candidate for any of the 3 judged queries"):
        find(of=nothing)
    assert not (tmp_path / "kept").exists()


@pytest.mark.parametrize("top_k", [0, -1, 1.5, True])
def test_the_depth_is_a_positive_number(find, top_k):
    with pytest.raises(InvalidOptionError, match="top_k must be a positive integer"):
        find(top_k=top_k)


# Pools


def test_bm25_looks_inside_the_pools_only(find, collection):
    pools = {"q1": ("p4", "p3"), "q2": ("p1", "p2", "p3"), "q3": ("p1",)}
    whole = BM25FirstStage(PASSAGES).search(QUERIES, 5)
    found = find(of=replace(collection, pools=pools))
    assert found.run["q1"] == {"p4": whole["q1"]["p4"]}
    assert found.run["q2"] == {"p2": whole["q2"]["p2"]}
    assert len(found.notes) == 1  # q3 has none; nothing was outside


def test_given_candidates_keep_the_order_of_the_source(find, collection):
    pools = {"q1": ("p4", "p1", "p3", "gone"), "q2": ("p2",), "q3": ()}
    found = find("given", of=replace(collection, pools=pools))
    assert {key: list(scores) for key, scores in found.run.items()} == {
        "q1": ["p4", "p1", "p3"],
        "q2": ["p2"],
        "q3": [],
    }
    assert found.notes == (
        "The dataset 'toy': 1 candidates are no passage of the collection and were left out "
        "(the first is 'gone', of query 'q1').",
        "The dataset 'toy': 1 of 3 judged queries have no candidate and count as 0 ('q3').",
    )
    assert find("given", of=replace(collection, pools=pools)).reused
    with pytest.raises(InvalidOptionError, match="'toy' brings no candidates of its own"):
        find("given")


def test_a_query_is_no_candidate_of_its_own(find, collection):
    queries = {"p1": PASSAGES["p1"], "p4": PASSAGES["p4"]}
    own = replace(collection, queries=queries, excludes_own_id=True)
    found = find(of=own, top_k=1)
    assert {key: list(scores) for key, scores in found.run.items()} == {"p1": ["p4"], "p4": ["p1"]}
    assert found.notes == ()


# Runs and predictions


def test_a_run_is_cut_by_the_one_rule_of_order(find, write_run):
    path = write_run(
        "q1 Q0 p4 1 2.5 t\nq1 Q0 p1 9 2.5 t\nq1 Q0 p3 2 7 t\nq1 Q0 p2 3 -1 t\nq2 Q0 p5 1 0 t\n"
        "q3 Q0 p1 1 0 t\n"
    )
    found = find(f"run:{path}")
    assert [list(scores.items()) for scores in found.run.values()] == [
        [("p3", 7.0), ("p1", 2.5), ("p4", 2.5)],
        [("p5", 0.0)],
        [("p1", 0.0)],
    ]
    assert found.notes == ()
    assert found.description == "the run run.trec, best 3 passages of a query"
    assert find(f"run:{path}").reused


def test_what_a_run_has_too_much_or_too_little_is_counted_and_named(find, write_run):
    path = write_run(
        "q1 Q0 gone 1 9 t\nq1 Q0 lost 1 8 t\nq1 Q0 p1 1 7 t\nq1 Q0 p2 1 6 t\nq1 Q0 p3 1 5 t\n"
        "q2 Q0 gone 1 9 t\nother Q0 p1 1 1 t\n",
        "run.trec.gz",
    )
    found = find(f"run:{path}")
    assert list(found.run["q1"]) == ["p1", "p2", "p3"]  # cut after the unknown ones are gone
    assert found.run["q2"] == found.run["q3"] == {}
    assert found.notes == (
        f"{path}: 3 candidates are no passage of the collection and were left out (the first is "
        "'gone', of query 'q1').",
        f"{path}: 2 of 3 judged queries have no candidate and count as 0 ('q2', 'q3').",
        f"{path}: 1 queries are not judged and were left out ('other').",
    )
    assert find(f"run:{path}").notes == found.notes


def test_candidates_outside_the_pools_are_counted(find, collection, write_run):
    pools = {"q1": ("p1",), "q2": ("p2",), "q3": ("p3",)}
    path = write_run("q1 Q0 p2 1 9 t\nq1 Q0 p1 1 8 t\nq2 Q0 p2 1 1 t\nq3 Q0 p3 1 1 t\n")
    found = find(f"run:{path}", of=replace(collection, pools=pools))
    assert found.run == {"q1": {"p1": 8.0}, "q2": {"p2": 1.0}, "q3": {"p3": 1.0}}
    assert found.notes == (
        f"{path}: 1 candidates lie outside the pools of their queries and were left out (the "
        "first is 'p2', of query 'q1').",
    )


def test_a_run_that_changes_is_read_again(find, write_run):
    path = write_run("q1 Q0 p1 1 9 t\n")
    find(f"run:{path}")
    write_run("q1 Q0 p2 1 9 t\n")
    found = find(f"run:{path}")
    assert list(found.run["q1"]) == ["p2"]
    assert found.notes[-1].endswith("have another sha256.")


def test_a_folder_has_a_run_for_each_dataset(find, write_run, tmp_path, collection):
    write_run("q1 Q0 p1 1 9 t\n", "runs/toy.trec")
    write_run("q1 Q0 p2 1 9 t\n", "runs/beir_toy.trec.gz")
    folder = tmp_path / "runs"
    assert list(find(f"run:{folder}").run["q1"]) == ["p1"]
    other = replace(collection, name="beir/toy")
    assert list(find(f"run:{folder}", of=other, folder=tmp_path / "k2").run["q1"]) == ["p2"]
    with pytest.raises(DataFileError, match="holds no run for the dataset 'third'"):
        find(f"run:{folder}", of=replace(collection, name="third"))


@pytest.mark.parametrize(
    ("text", "error", "message"),
    [
        ("q1 Q0 p1 1 9\n", DataFileError, "line 1: expected six columns"),
        ("q1 Q0 p1 1 9 t\nq1 Q0 p1 1 9 t\n", DataFileError, "line 2: expected each passage once"),
        ("q1 Q0 p1 1 nan t\n", DataFileError, "line 1: expected a finite number"),
        ("", InputError, r"run\.trec gives no candidate for any of the 3 judged queries"),
        ("q9 Q0 p1 1 1 t\n", InputError, "it has 1 other queries, 0 candidates"),
        ("q1 Q0 x 1 1 t\n", InputError, "1 candidates that are no passage .*'x', of query 'q1'"),
    ],
)
def test_bad_runs_are_named(find, write_run, text, error, message):
    with pytest.raises(error, match=message):
        find(f"run:{write_run(text)}")


def test_a_run_that_is_not_there_is_named(find, tmp_path):
    with pytest.raises(DataFileError, match=r"no file or folder .*nowhere"):
        find(f"run:{tmp_path / 'nowhere'}")


def test_predictions_of_mteb_are_read(find, write_run, tmp_path, collection):
    scores = {"q1": {"p1": 0.5, "p4": 0.75}, "q2": {"p2": 1}, "q3": {"p3": 0.1}}
    document = {
        "mteb_model_meta": {},
        "default": {"test": scores},
        "de": {"dev": {"q1": {"p5": 1}}},
    }
    write_run(json.dumps(document), "predictions/Toy_predictions.json")
    folder = tmp_path / "predictions"
    found = find(f"mteb:{folder}")
    assert [list(one) for one in found.run.values()] == [["p4", "p1"], ["p2"], ["p3"]]
    assert found.description.startswith("mteb's predictions in Toy_predictions.json")
    assert find(f"mteb:{folder}").reused
    assert find(f"mteb:{folder / 'Toy_predictions.json'}").run == found.run
    other = find(f"mteb:{folder}", subset="de", split="dev")
    assert not other.reused
    assert list(other.run["q1"]) == ["p5"]
    named = find(f"mteb:{tmp_path}", of=replace(collection, name="mine"), task="Toy")
    assert named.run == found.run


def test_predictions_that_are_not_there_are_named(find, write_run, tmp_path, collection):
    write_run("{}", "a/Toy_predictions.json")
    write_run("{}", "b/Toy_predictions.json")
    with pytest.raises(InputError, match="holds 2 files of predictions for 'toy'"):
        find(f"mteb:{tmp_path}")
    with pytest.raises(DataFileError, match=r"for the dataset 'x'; it holds Toy_predictions\.json"):
        find(f"mteb:{tmp_path / 'a'}", of=replace(collection, name="x"))
    with pytest.raises(DataFileError, match=r"no file or folder .*nowhere"):
        find(f"mteb:{tmp_path / 'nowhere'}")
    with pytest.raises(DataFileError, match="holds no subset 'default'"):
        find(f"mteb:{tmp_path / 'a'}")


# Dense


def test_dense_search_compares_all_with_all(dense, collection, monkeypatch):
    model = DenseModel(dense, device="cpu")
    passages = {f"p{i:02}": text for i, text in enumerate([*PASSAGES.values()] * 5)}
    vectors = model.encode_passages([passages[key] for key in sorted(passages)])
    whole = dense_search(model, passages, QUERIES, top_k=25)
    for query_id, text in QUERIES.items():
        scores = dict(zip(sorted(passages), vectors @ model.encode_query(text), strict=True))
        for passage_id, score in scores.items():
            assert whole[query_id][passage_id] == pytest.approx(score, abs=1e-5)
    for block in (1, 4, 7, 25):
        monkeypatch.setattr(dense_search_module, "_BLOCK", block)
        for top_k in (1, 3, 6, 25):
            run = dense_search(model, passages, QUERIES, top_k=top_k)
            for query_id, scores in run.items():
                assert list(scores.values()) == sorted(scores.values(), reverse=True)
                expected = sorted(whole[query_id].values(), reverse=True)[:top_k]
                np.testing.assert_allclose(list(scores.values()), expected, atol=1e-5)


@pytest.mark.parametrize("with_places", [False, True])
@pytest.mark.parametrize("block", [1, 2, 5, 40])
@pytest.mark.parametrize("top_k", [1, 4, 40])
def test_the_best_of_blocks_are_those_of_the_one_rule_of_order(with_places, block, top_k):
    random = np.random.default_rng(block + top_k)
    ids = [f"p{row:02}" for row in range(40)]
    scores = random.integers(0, 4, (6, 40)).astype(np.float32)  # many ties
    pools = [np.flatnonzero(random.random(40) < 0.4) for _ in scores]
    best = Best(len(scores), top_k)
    for start in range(0, 40, block):
        best.add(scores[:, start : start + block], start, pools if with_places else None)
    for query, row in enumerate(scores):
        rows = pools[query] if with_places else range(40)
        allowed = {ids[place]: float(row[place]) for place in rows}
        found = [ids[place] for _, place in best.row(query)]
        assert found == ranked_ids(allowed)[:top_k]
        assert [score for score, _ in best.row(query)] == [allowed[key] for key in found]


def test_dense_candidates_are_found_kept_and_described(find, dense, collection):
    found = find(f"dense:{dense}")
    model = DenseModel(dense, device="cpu")
    assert found.run == dense_search(model, PASSAGES, QUERIES, top_k=3)
    assert found.notes == ()
    assert found.description.startswith("dense retrieval with dense (sentence-transformers ")
    assert find(f"dense:{dense}") == replace(found, reused=True)
    pools = {"q1": ("p5", "p2", "gone"), "q2": ("p4",), "q3": ("p1", "p2", "p3", "p4", "p5")}
    inside = find(f"dense:{dense}", of=replace(collection, pools=pools))
    assert inside.run["q1"].keys() == {"p2", "p5"}
    assert inside.run["q2"].keys() == {"p4"}
    assert inside.run["q3"] == pytest.approx(found.run["q3"])


def test_another_dense_model_finds_anew(find, dense, models):
    find(f"dense:{dense}")
    other = save_embedding(models / "other", seed=5)
    found = find(f"dense:{other}")
    assert found.notes[-1].endswith("have another first stage, fingerprint.")


def test_dense_models_that_are_none_are_named(find, models):
    with pytest.raises(CheckpointNotFoundError, match="no embedding model 'nowhere'"):
        find("dense:nowhere")
    cross = save_cross_encoder(models / "cross")
    with pytest.raises(InvalidCheckpointError, match="saved as CrossEncoder"):
        find(f"dense:{cross}")
