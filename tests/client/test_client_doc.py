"""The programs of docs/client.md print what stands under them; the example runs."""

import re
import subprocess
import sys
from pathlib import Path

import pytest

from tests.client.real_server import KEY

ROOT = Path(__file__).parents[2]
DOC = (ROOT / "docs" / "client.md").read_text(encoding="utf-8")
PROGRAMS = re.findall(r"```python\n(.*?)```\n\n```\n(.*?)```", DOC, re.DOTALL)
ADDRESS = "http://127.0.0.1:8000"


def test_there_are_programs():
    assert len(PROGRAMS) == 3
    assert all(ADDRESS in program and printed for program, printed in PROGRAMS)


@pytest.mark.parametrize(("program", "printed"), PROGRAMS, ids=["rank", "cut", "stored"])
def test_what_stands_under_a_program_is_true(url, monkeypatch, capsys, program, printed):
    monkeypatch.setenv("KALM_API_KEY", KEY)
    exec(compile(program.replace(ADDRESS, url), "docs/client.md", "exec"), {})
    shown = capsys.readouterr().out
    number = r"\d+\.\d+"
    assert re.sub(number, "#", shown) == re.sub(number, "#", printed)
    got, expected = (list(map(float, re.findall(number, text))) for text in (shown, printed))
    assert got == pytest.approx(expected, abs=0.01)


def test_the_example_runs(url, monkeypatch):
    monkeypatch.setenv("KALM_API_KEY", KEY)
    done = subprocess.run(
        [sys.executable, ROOT / "examples" / "serving_client.py", "--base-url", url],
        capture_output=True,
        text=True,
    )
    assert (done.returncode, done.stderr) == (0, "")
    lines = done.stdout.splitlines()
    assert "pico" in lines[0]
    assert lines[1].endswith("The capital of China is Beijing.")
    assert lines[-3] == "What is the capital of China? -> The capital of China is Beijing."
