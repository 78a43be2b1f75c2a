"""`kalm bench`, in this process."""

import json
import sys

import pytest

from kalm_reranker.bench.report import BenchReport
from kalm_reranker.cli.main import main
from kalm_reranker.engine.int8_support import int8_problem


@pytest.fixture
def kalm(monkeypatch, capsys):
    def run(*arguments):
        monkeypatch.setattr(sys, "argv", ["kalm", "bench", *arguments])
        code = 0
        try:
            main()
        except SystemExit as stop:
            code = stop.code or 0
        captured = capsys.readouterr()
        return code, captured.out, captured.err

    return run


SMALL = (
    *("--model", "tiny-shape", "--lengths", "32", "--ratios", "2", "--candidates", "2"),
    *("--rounds", "1", "--warm-up", "0", "--dtype", "float32", "--no-memory", "--paths", "ours"),
)


def test_a_run_prints_tables_and_writes_what_is_asked_for(kalm, tmp_path):
    output, plots = tmp_path / "new" / "bench.json", tmp_path / "plots"
    code, out, err = kalm(*SMALL, "--output", str(output), "--plots", str(plots))
    assert code == 0
    assert "Milliseconds by passage length n" in out
    assert "writing random weights of tiny-shape: 7 MB" in err
    assert f"written: {output}" in err
    report = BenchReport.from_dict(json.loads(output.read_text()))
    assert report.lengths == (32,)
    assert report.settings["paths"] == ["ours"]
    assert len(list(plots.iterdir())) == 4


@pytest.mark.skipif(int8_problem() is not None, reason=str(int8_problem()))
def test_the_report_says_that_weights_have_8_bits(kalm):
    code, out, _ = kalm(*SMALL, "--quantization", "int8", "--json")
    assert code == 0
    assert "int8 weights in our decoder" in BenchReport.from_dict(json.loads(out)).engine


def test_json_is_all_there_is_on_stdout(kalm):
    code, out, _ = kalm(*SMALL, "--json")
    assert code == 0
    assert BenchReport.from_dict(json.loads(out)).model.random_weights


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("--lengths", "a"), "--lengths must be positive whole numbers with commas"),
        (("--ratios", "2,,4"), "--ratios must be positive whole numbers with commas"),
        (("--ratios", "0"), "--ratios must be positive whole numbers with commas"),
        (("--paths", "mine"), "paths must be some of official, cross-encoder, ours; got mine"),
        (("--quantization", "int3"), "quantization must be 'int8' or None; got 'int3'"),
        (("--limit", "0"), "time limit must be a positive number of seconds"),
        (("--model", "no-shape"), "'no-shape' is no known shape"),
        (("--engine", "warp"), "engine must be one of"),
        (("--device", "nowhere"), "device must be a PyTorch device"),
    ],
)
def test_what_is_wrong_is_said_in_one_line(kalm, arguments, message):
    code, out, err = kalm(*arguments)
    assert (code, out) == (1, "")
    assert err.startswith("error: ")
    assert message in err


def test_what_cannot_be_written_is_said_before_anything_is_measured(kalm, tmp_path, monkeypatch):
    (tmp_path / "file").write_text("")
    for option in ("--plots", "--output"):
        code, _, err = kalm(*SMALL, option, str(tmp_path / "file" / "below"))
        assert code == 1
        assert err.startswith(f"error: {option}: the folder")
    code, _, err = kalm(*SMALL, "--output", str(tmp_path))
    assert code == 1
    assert "--output must be a file" in err
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    code, _, err = kalm(*SMALL, "--plots", str(tmp_path))
    assert code == 1
    assert "Drawing plots needs the Python module 'matplotlib'" in err
    assert 'hint: pip install "kalm-reranker[bench]"' in err
