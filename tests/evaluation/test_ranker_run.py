"""One ranker over one dataset: what is scored, what is used again, what an interruption costs."""

import gzip
import math
from dataclasses import replace

import numpy as np
import pytest

from kalm_reranker.errors import DataFileError, NonFiniteScoreError
from kalm_reranker.evaluation import ranker_run as module
from kalm_reranker.evaluation.ranker_run import hash_of_task, run_ranker, save_derived
from kalm_reranker.evaluation.rankers.base import RankingTask
from kalm_reranker.evaluation.rankers.run_file import RunFileRanker
from kalm_reranker.search.ranking import ranked_ids

PASSAGES = {"a": "gravity", "b": "the red fox", "c d": "the capital", "e": ""}
QUERIES = {"q1": "what attracts", "q2": "fox", "q 3": "capital", "none": "nothing found"}
CANDIDATES = {
    "q1": {"a": 3.0, "b": 2.5, "c d": -1.0},
    "q2": {"b": 9.0},
    "none": {},
    "q 3": {"c d": 0.25, "e": 0.125},
}


class ByLength:
    """A ranker whose scores follow from texts alone; counts what it is asked for."""

    def __init__(self, stop_after=None, settings=None, **changes):
        self._info = {"name": "by length", "kind": "cross-encoder", "settings": settings or {}}
        self._info |= changes
        self.stop_after = stop_after
        self.asked = []
        self.num_prepared = 0
        self.notes = ("Reads lengths alone.",)

    @property
    def info(self):
        return module.RankerInfo(**self._info)

    def prepare(self, task):
        self.num_prepared += 1
        self.instruction = task.instruction or ""
        self.passages = task.passages

    def score(self, query_id, query, candidate_ids):
        if self.stop_after is not None and len(self.asked) >= self.stop_after:
            raise KeyboardInterrupt
        self.asked.append(query_id)
        length = len(query) + len(self.instruction)
        # Of numpy's kind, as libraries give them, and with what nobody asked for.
        found = {key: np.float64(len(self.passages[key]) / length / 3) for key in candidate_ids}
        return {**found, "other": 1.0}

    def bytes_per_passage(self):
        return 12.5

    def close(self):
        pass


@pytest.fixture
def task(tmp_path):
    return RankingTask(
        dataset="toy",
        instruction="Find it.",
        passages=PASSAGES,
        queries=QUERIES,
        candidates=CANDIDATES,
        folder=tmp_path / "states",
    )


@pytest.fixture
def run(tmp_path):
    def run(ranker, task, folder=None):
        found = run_ranker(
            ranker, task, folder or tmp_path / "runs", "stem", task_hash=hash_of_task(task)
        )
        return found

    return run


def test_every_query_is_scored_once_and_kept(run, task, tmp_path):
    ranker = ByLength()
    first = run(ranker, task)
    assert ranker.asked == ["q1", "q2", "q 3"]
    length = len("what attracts") + len("Find it.")
    assert list(first.run) == list(CANDIDATES)
    assert first.run["q1"] == {key: len(PASSAGES[key]) / length / 3 for key in CANDIDATES["q1"]}
    assert first.run["none"] == {}
    assert (first.reused, first.bytes_per_passage) == (False, 12.5)
    assert first.ms_per_query > 0
    assert first.seconds.keys() == {"prepare", "score"}
    assert first.notes == ("Reads lengths alone.",)
    assert [path.name for path in sorted((tmp_path / "runs").iterdir())] == [
        "stem.json",
        "stem.jsonl.gz",
    ]

    again = run(ranker := ByLength(), task)
    assert (ranker.asked, ranker.num_prepared) == ([], 0)
    assert (again.reused, again.seconds) == (True, {})
    assert replace(again, reused=False, seconds=first.seconds) == first


@pytest.mark.parametrize("stop_after", [0, 1, 2])
def test_an_interrupted_run_goes_on_and_ends_the_same(run, task, tmp_path, stop_after):
    with pytest.raises(KeyboardInterrupt):
        run(ByLength(stop_after), task)
    rest = ByLength()
    resumed = run(rest, task)
    assert rest.asked == ["q1", "q2", "q 3"][stop_after:]
    whole = run(ByLength(), task, tmp_path / "whole")
    assert resumed.run == whole.run
    names = sorted(path.name for path in (tmp_path / "whole").iterdir())
    assert sorted(path.name for path in (tmp_path / "runs").iterdir()) == names
    read = [
        gzip.decompress((tmp_path / f / "stem.jsonl.gz").read_bytes()) for f in ("runs", "whole")
    ]
    assert read[0] == read[1]


def changed_tasks():
    def with_passage(task):
        return replace(task, passages={**PASSAGES, "b": "the red fix"})

    def with_candidate(task):
        return replace(task, candidates={**CANDIDATES, "q2": {"b": 9.0, "a": 8.0}})

    def with_order(task):
        return replace(task, candidates={**CANDIDATES, "q2": {"b": 9.5}})

    return {
        "text of a passage": with_passage,
        "text of a query": lambda task: replace(task, queries={**QUERIES, "q2": "wolf"}),
        "instruction": lambda task: replace(task, instruction="Find them."),
        "no instruction": lambda task: replace(task, instruction=None),
        "empty instruction": lambda task: replace(task, instruction=""),
        "instruction of a query": lambda task: replace(task, query_instructions={"q2": "Find."}),
        "candidates": with_candidate,
        "first-stage score": with_order,
    }


@pytest.mark.parametrize("what", changed_tasks())
def test_another_task_is_scored_again(run, task, what):
    run(ByLength(), task)
    ranker = ByLength()
    assert not run(ranker, changed_tasks()[what](task)).reused
    assert len(ranker.asked) == 3


@pytest.mark.parametrize("what", changed_tasks())
def test_what_is_left_of_another_task_is_not_used(run, task, what):
    with pytest.raises(KeyboardInterrupt):
        run(ByLength(2), task)
    ranker = ByLength()
    run(ranker, changed_tasks()[what](task))
    assert len(ranker.asked) == 3


@pytest.mark.parametrize(
    "changes",
    [
        *({"settings": {"max_length": 512}}, {"name": "other"}, {"codec": "int8"}),
        *({"compression_ratio": 4}, {"model": "nano"}),
    ],
    ids=str,
)
def test_another_ranker_is_scored_again(run, task, changes):
    run(ByLength(), task)
    ranker = ByLength(**changes)
    assert not run(ranker, task).reused
    assert len(ranker.asked) == 3


def test_settings_that_json_changes_are_the_same_settings(run, task):
    settings = {"widths": (1, 2), "nested": {"of": ("a",)}}
    run(ByLength(settings=settings), task)
    assert run(ByLength(settings=settings), task).reused


def test_another_version_of_this_package_scores_again(run, task, monkeypatch):
    run(ByLength(), task)
    monkeypatch.setattr(module, "__version__", "999")
    assert not run(ByLength(), task).reused


def test_passages_that_are_no_candidates_change_nothing(run, task):
    run(ByLength(), task)
    assert run(ByLength(), replace(task, passages={**PASSAGES, "new": "text"})).reused


def test_no_two_tasks_look_alike_to_the_hash(task):
    tasks = [task, *(change(task) for change in changed_tasks().values())]
    tasks.append(replace(task, queries={**QUERIES, "q1": "what attracts\n2\nq2"}))
    assert len({hash_of_task(one) for one in tasks}) == len(tasks)


@pytest.mark.parametrize("damage", ["stem.json", "stem.jsonl.gz"])
def test_a_damaged_run_is_scored_again(run, task, tmp_path, damage):
    first = run(ByLength(), task)
    path = tmp_path / "runs" / damage
    path.write_bytes(path.read_bytes()[:-7])
    second = run(ByLength(), task)
    assert (second.reused, second.run) == (False, first.run)
    assert run(ByLength(), task).reused


@pytest.mark.parametrize("score", [math.nan, math.inf, -math.inf])
def test_scores_that_are_no_numbers_are_refused_and_not_kept(run, task, score):
    class Broken(ByLength):
        def score(self, query_id, query, candidate_ids):
            found = dict(super().score(query_id, query, candidate_ids))
            return {**found, "b": score} if query_id == "q2" else found

    with pytest.raises(NonFiniteScoreError, match="to passage 'b' of query 'q2'") as raised:
        run(Broken(), task)
    assert raised.value.hint
    ranker = ByLength()
    run(ranker, task)
    assert ranker.asked == ["q2", "q 3"]  # q1 was kept


def test_queries_without_candidates_do_not_make_a_ranker_look_fast(run, task, monkeypatch):
    empty = {f"n{number}": {} for number in range(9)}
    task = replace(
        task, candidates={**CANDIDATES, **empty}, queries={**QUERIES, **dict.fromkeys(empty, "x")}
    )

    class Slow(ByLength):
        def score(self, query_id, query, candidate_ids):
            end = module.time.perf_counter() + 0.01
            while module.time.perf_counter() < end:
                pass
            return super().score(query_id, query, candidate_ids)

    assert run(Slow(), task).ms_per_query >= 10


def test_a_dataset_without_candidates_has_no_time(run, task):
    found = run(ByLength(), replace(task, candidates={"none": {}}))
    assert (found.run, found.ms_per_query) == ({"none": {}}, None)


def test_a_run_that_others_made_has_no_time_and_its_notes_are_kept(run, task, tmp_path):
    path = tmp_path / "given.trec"
    path.write_text("q1 Q0 b 1 7.5 x\nq1 Q0 a 2 7.25 x\nq2 Q0 b 1 1 x\n")
    first = run(RunFileRanker(path, name="given"), task)
    assert first.ms_per_query is None
    assert first.run["q1"] == {"a": 7.25, "b": 7.5, "c d": 6.25}
    assert "no score for 3 of 6 candidates" in first.notes[0]
    again = run(RunFileRanker(path, name="given"), task)
    assert (again.reused, again.notes, again.run) == (True, first.notes, first.run)
    path.write_text("q1 Q0 a 1 7.5 x\n")
    assert not run(RunFileRanker(path, name="given"), task).reused


def test_another_file_in_a_folder_of_runs_is_another_run(run, task, tmp_path):
    folder = tmp_path / "given"
    folder.mkdir()
    (folder / "toy.trec").write_text("q1 Q0 b 1 7.5 x\n")
    run(RunFileRanker(folder, name="given"), task)
    assert run(RunFileRanker(folder, name="given"), task).reused
    (folder / "toy.trec").write_text("q1 Q0 b 1 8.5 x\n")
    again = run(RunFileRanker(folder, name="given"), task)
    assert (again.reused, again.run["q1"]["b"]) == (False, 8.5)


def test_a_folder_that_cannot_be_written_is_an_error(run, task, tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(DataFileError, match="cannot be written"):
        run(ByLength(), task, tmp_path / "file")


def test_a_derived_run_is_written_when_it_changed_and_left_alone_otherwise(tmp_path):
    info = ByLength(kind="blend").info
    path = tmp_path / "blend.trec.gz"
    save_derived(tmp_path, "blend", info, {"q": {"a": 1.0, "b": 2.0}, "none": {}}, "hash")
    before = path.stat()
    save_derived(tmp_path, "blend", info, {"q": {"b": 2.0, "a": 1.0}, "none": {}}, "hash")
    assert path.stat().st_ino == before.st_ino
    save_derived(tmp_path, "blend", info, {"q": {"a": 1.0, "b": 0.5}, "none": {}}, "hash")
    lines = gzip.decompress(path.read_bytes()).decode().splitlines()
    assert [line.split()[2] for line in lines] == ranked_ids({"a": 1.0, "b": 0.5})
