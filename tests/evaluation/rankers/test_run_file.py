import pytest

from kalm_reranker.errors import DataFileError, InputError
from kalm_reranker.evaluation.rankers.run_file import RunFileRanker
from kalm_reranker.search.ranking import ranked_ids
from tests.evaluation.rankers.scored import scored


@pytest.fixture
def write(tmp_path):
    def write(text, name="run.trec"):
        path = tmp_path / name
        path.parent.mkdir(exist_ok=True)
        path.write_text(text)
        return path

    return write


def test_scores_are_those_of_the_run_and_missing_candidates_come_last(write, make_task):
    path = write(
        "q1 Q0 c 1 -3.5 t\nq1 Q0 g 2 9 t\nq1 Q0 a 3 -7 t\nq2 Q0 c 1 1 t\nq2 Q0 b 1 1 t\n"
        "q2 Q0 e 1 1 t\nq2 Q0 f 1 0.5 t\nq9 Q0 a 1 1 t\n"
    )
    ranker = RunFileRanker(path, name="theirs")
    found = scored(ranker, make_task())
    assert found["q1"] == {"a": -7.0, "b": -8.0, "c": -3.5, "d": -8.0}
    assert ranked_ids(found["q1"]) == ["c", "a", "b", "d"]
    assert found["q2"] == {"c": 1.0, "b": 1.0, "e": 1.0, "f": 0.5}
    assert ranker.notes == (
        "theirs: the run has no score for 2 of 8 candidates, which come last, in the order of "
        "their ids (the first is 'b', of query 'q1').",
    )
    assert (ranker.info.name, ranker.info.kind, ranker.info.model) == ("theirs", "run", None)
    assert len(ranker.info.settings["sha256"]) == 64
    assert ranker.bytes_per_passage() is None
    ranker.close()


def test_a_query_that_the_run_lacks_keeps_its_candidates(write, make_task):
    found = scored(RunFileRanker(write("q1 Q0 a 1 2 t\n"), name="theirs"), make_task())
    assert len(set(found["q2"].values())) == 1
    assert found["q2"].keys() == set("cbef")


@pytest.mark.parametrize("score", ["1e300", "-1e300", "-1e17", "5e-324"])
def test_missing_candidates_are_below_any_score(write, make_task, score):
    ranker = RunFileRanker(write(f"q1 Q0 a 1 {score} t\n"), name="theirs")
    found = scored(ranker, make_task({"q1": "ab"}))["q1"]
    assert found["b"] < found["a"] == float(score)


def test_a_complete_run_has_no_note(write, make_task):
    ranker = RunFileRanker(write("q1 Q0 a 1 2 t\n"), name="theirs")
    ranker.prepare(make_task({"q1": "a"}))
    assert ranker.notes == ()


def test_a_folder_has_a_run_for_each_dataset(write, make_task, tmp_path):
    write("q1 Q0 a 1 2 t\n", "runs/toy.trec")
    write("q1 Q0 a 1 3 t\n", "runs/beir_toy.trec")
    ranker = RunFileRanker(tmp_path / "runs", name="theirs")
    assert scored(ranker, make_task({"q1": "a"})) == {"q1": {"a": 2.0}}
    assert scored(ranker, make_task({"q1": "a"}, dataset="beir/toy")) == {"q1": {"a": 3.0}}
    with pytest.raises(DataFileError, match=r"no run for the dataset 'other': .*other\.trec\.gz"):
        ranker.prepare(make_task(dataset="other"))


def test_bad_runs_are_named(write, make_task, tmp_path):
    with pytest.raises(DataFileError, match=r"no file or folder .*nowhere for the run 'theirs'"):
        RunFileRanker(tmp_path / "nowhere", name="theirs")
    ranker = RunFileRanker(write("q7 Q0 a 1 2 t\n"), name="theirs")
    with pytest.raises(InputError, match="scores none of the 8 candidates of 'toy'; the first is"):
        ranker.prepare(make_task())
    ranker = RunFileRanker(write("q1 Q0 a 1 2 t\nq1 Q0 a 1 2 t\n"), name="theirs")
    with pytest.raises(DataFileError, match="line 2: expected each passage once"):
        ranker.prepare(make_task())
