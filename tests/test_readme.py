"""The README's program prints what the README says."""

import re
from pathlib import Path

import pytest

README = (Path(__file__).parents[1] / "README.md").read_text(encoding="utf-8")


def test_the_first_program_prints_what_stands_under_it(capsys, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    program, printed = re.search(
        r"```python\n(.*?)```\n\n```\n(.*?)```", README, re.DOTALL
    ).groups()
    exec(compile(program, "README.md", "exec"), {})
    shown = capsys.readouterr().out
    number = r"\d+\.\d+"
    assert re.sub(number, "#", shown) == re.sub(number, "#", printed)
    # The default dtype follows the processor, and bfloat16 moves scores in the third digit.
    got, expected = (list(map(float, re.findall(number, text))) for text in (shown, printed))
    assert got == pytest.approx(expected, abs=0.01)
