"""The example of a leaderboard run, with mteb's own BM25 as first stage, on local data."""

import json
import runpy
import sys
from pathlib import Path

EXAMPLE = Path(__file__).parents[2] / "examples" / "mteb_leaderboard.py"


def test_the_leaderboard_example_runs(mteb, make_task, data, tmp_path, monkeypatch, capsys):
    from mteb.abstasks import AbsTask

    def get_task(name) -> AbsTask:  # the only part that would be downloaded
        return make_task("Retrieval", top_ranked=False, name=name)

    monkeypatch.setattr(mteb, "get_task", get_task)
    monkeypatch.chdir(tmp_path)
    options = ["--model", "pico", "--tasks", "LocalClaims", "--top-k", "3", "--states", "states"]
    for more in ([], ["--ratio", "8", "--instructions", "beir"]):
        monkeypatch.setattr(sys, "argv", [str(EXAMPLE), *options, *more])
        runpy.run_path(str(EXAMPLE), run_name="__main__")
    lines = [line.split("\t") for line in capsys.readouterr().out.splitlines()]
    assert [name for name, _ in lines] == ["LocalClaims"] * 2
    files = sorted((tmp_path / "results").rglob("LocalClaims.json"))
    assert len(files) == 2
    found = {json.loads(file.read_text())["scores"]["test"][0]["main_score"] for file in files}
    assert {f"{100 * score:.2f}" for score in found} == {score for _, score in lines}
    (candidates,) = (tmp_path / "predictions").rglob("LocalClaims_predictions.json")
    assert json.loads(candidates.read_text())["default"]["test"].keys() == data.queries.keys()


def test_the_example_runs_the_tasks_of_the_paper(mteb):
    beir = runpy.run_path(str(EXAMPLE))["BEIR"]
    assert len(beir) == 13
    assert {"SciFact", "TRECCOVID"} <= set(beir)
