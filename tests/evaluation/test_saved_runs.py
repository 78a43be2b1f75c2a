"""Runs are saved whole or not at all, and what is not what was written is not used."""

import gzip
import json
import math

import pytest

from kalm_reranker.errors import DataFileError, InputError
from kalm_reranker.evaluation.saved_runs import SavedRun, UnusableRunError, load_run, save_run
from kalm_reranker.search.ranking import ranked_ids
from kalm_reranker.search.run_files import read_trec_run

RUN = {"q1": {"a": 0.1 + 0.2, "b": 5e-324, "c": 5e-324}, "q2": {"a": -3.0}}
SPACED = {"q 1": {"a b": 0.1 + 0.2, "\n": 7.0}, "": {"x": 1.0}}


def saved(run=RUN, **changes):
    values = {
        "made_from": {"ranker": {"name": "pico"}, "path": "half a character: \udc80"},
        "description": "pico r=2",
        "notes": ("one", "two"),
        "extra": {"bytes_per_passage": 1.5, "none": None},
    }
    return SavedRun(run=run, **{**values, **changes})


@pytest.mark.parametrize("run", [RUN, SPACED, {"\ud800": {"a": 1.0}}, {}])
def test_a_run_is_read_as_it_was_saved(tmp_path, run):
    save_run(tmp_path / "new" / "folder", "name", saved(run))
    assert load_run(tmp_path / "new" / "folder", "name") == saved(run)


def test_queries_without_candidates_are_left_out(tmp_path):
    for name, run in (("plain", RUN), ("spaced", SPACED)):
        save_run(tmp_path, name, saved({**run, "nothing": {}}))
        assert load_run(tmp_path, name).run == run


def test_the_file_is_a_trec_run_that_others_can_read(tmp_path):
    save_run(tmp_path, "pico_r=2", saved())
    lines = gzip.decompress((tmp_path / "pico_r=2.trec.gz").read_bytes()).decode().splitlines()
    assert lines[0].split() == ["q1", "Q0", "a", "1", "0.30000000000000004", "pico_r=2"]
    assert [line.split()[3] for line in lines] == ["1", "2", "3", "1"]
    found = read_trec_run(tmp_path / "pico_r=2.trec.gz")
    assert found == RUN
    assert ranked_ids(found["q1"]) == ranked_ids(RUN["q1"])


def test_the_same_run_gives_the_same_bytes(tmp_path):
    for name in ("one", "two"):
        save_run(tmp_path / name, "run", saved())
    files = ["run.json", "run.trec.gz"]
    assert sorted(path.name for path in (tmp_path / "one").iterdir()) == files
    for file in files:
        assert (tmp_path / "one" / file).read_bytes() == (tmp_path / "two" / file).read_bytes()


def test_the_other_form_of_an_earlier_run_goes(tmp_path):
    save_run(tmp_path, "run", saved(SPACED))
    save_run(tmp_path, "run", saved())
    assert sorted(path.name for path in tmp_path.iterdir()) == ["run.json", "run.trec.gz"]
    save_run(tmp_path, "run", saved(SPACED))
    assert sorted(path.name for path in tmp_path.iterdir()) == ["run.json", "run.jsonl.gz"]


def test_nothing_saved_is_none(tmp_path):
    assert load_run(tmp_path, "run") is None
    assert load_run(tmp_path / "missing", "run") is None


@pytest.mark.parametrize("run", [RUN, SPACED], ids=["trec", "json lines"])
def test_every_byte_of_the_run_counts(tmp_path, run):
    save_run(tmp_path, "run", saved(run))
    path = next(tmp_path.glob("run.*.gz"))
    raw = path.read_bytes()
    for position in (0, 4, len(raw) // 2, len(raw) - 1):
        path.write_bytes(raw[:position] + bytes([raw[position] ^ 1]) + raw[position + 1 :])
        with pytest.raises(UnusableRunError, match="is not what was written"):
            load_run(tmp_path, "run")
    path.unlink()
    with pytest.raises(UnusableRunError, match="cannot be read"):
        load_run(tmp_path, "run")


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("", "cannot be read"),
        ("{", "cannot be read"),
        ("[" * 100_000, "cannot be read"),
        ("[]", "misses"),
        ("{}", "misses"),
        ("null", "misses"),
        ('{"format": 2}', "another version"),
        ('{"format": 1, "form": "../../other"}', "misses"),
        ('{"format": 1, "form": ".trec.gz", "sha256": 3}', "is not what was written"),
    ],
)
def test_a_record_that_is_something_else_is_not_used(tmp_path, text, why):
    save_run(tmp_path, "run", saved())
    (tmp_path / "run.json").write_text(text)
    with pytest.raises(UnusableRunError, match=why):
        load_run(tmp_path, "run")
    save_run(tmp_path, "run", saved())
    assert load_run(tmp_path, "run") == saved()


def test_a_crash_between_both_files_leaves_no_run_that_looks_whole(tmp_path):
    save_run(tmp_path, "run", saved())
    before = (tmp_path / "run.json").read_bytes()
    save_run(tmp_path, "run", saved({"q1": {"a": 1.0}}))
    (tmp_path / "run.json").write_bytes(before)  # as if the new record had not been written
    with pytest.raises(UnusableRunError, match="is not what was written"):
        load_run(tmp_path, "run")
    assert json.loads(before)["form"] == ".trec.gz"


@pytest.mark.parametrize("score", [math.nan, math.inf, -math.inf])
def test_scores_are_finite(tmp_path, score):
    with pytest.raises(InputError, match="'a' for query 'q1' must be a finite number"):
        save_run(tmp_path, "run", saved({"q1": {"a": score}}))
    assert not list(tmp_path.iterdir())


def test_a_folder_that_cannot_be_written_is_an_error(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(DataFileError, match="cannot be written"):
        save_run(tmp_path / "file", "run", saved())
