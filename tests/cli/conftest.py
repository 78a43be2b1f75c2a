"""The `kalm` command, in this process."""

import sys

import pytest

from kalm_reranker.cli.main import main


@pytest.fixture
def kalm(monkeypatch, capsys):
    """Runs `kalm` with arguments; returns exit code, stdout and stderr."""

    def run(*arguments):
        monkeypatch.setattr(sys, "argv", ["kalm", *arguments])
        code = 0
        try:
            main()
        except SystemExit as stop:
            code = stop.code or 0
        captured = capsys.readouterr()
        return code, captured.out, captured.err

    return run
