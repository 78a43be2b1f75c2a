"""What a person sees: the command on a pseudo-terminal."""

import json
import os
import re
import select
import struct
import subprocess
import sys
import time
from pathlib import Path

import pytest

fcntl = pytest.importorskip("fcntl", reason="needs pseudo-terminals")
pty = pytest.importorskip("pty", reason="needs pseudo-terminals")
termios = pytest.importorskip("termios", reason="needs pseudo-terminals")

KALM = str(Path(sys.executable).with_name("kalm"))
MANY = 250  # passages, enough for a progress bar


def on_a_terminal(*arguments: str, stdout: int | None = None) -> str:
    """Runs kalm with stderr (and stdout, unless given) on a terminal; returns what it shows."""
    ours, theirs = pty.openpty()
    fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", 24, 80, 0, 0))
    process = subprocess.Popen(
        [KALM, *arguments],
        stdin=theirs,
        stdout=stdout or theirs,
        stderr=theirs,
        env={**os.environ, "TERM": "xterm"},
    )
    os.close(theirs)
    shown = b""
    deadline = time.monotonic() + 120
    while time.monotonic() < deadline:
        if not select.select([ours], [], [], 1.0)[0]:
            continue
        try:
            chunk = os.read(ours, 65536)
        except OSError:  # Linux reports the closed other end this way
            break
        if not chunk:
            break
        shown += chunk
    os.close(ours)
    assert process.wait(timeout=60) == 0, shown.decode()
    return shown.decode()


def test_a_long_list_shows_progress_and_a_short_one_does_not(tmp_path):
    passages = tmp_path / "passages.txt"
    passages.write_text("".join(f"passage number {i}\n" for i in range(MANY)))
    shown = on_a_terminal("rerank", "number 7", "-f", str(passages), "--top-k", "3")
    assert "encode" in shown
    assert f"/{MANY}" in shown
    assert shown.rstrip().splitlines()[-1].split()[0].endswith("3")  # the table comes last
    assert "encode" not in on_a_terminal("rerank", "number 7", "passage one", "passage two")


def test_long_passages_leave_the_other_columns_their_room(tmp_path):
    passages = tmp_path / "passages.jsonl"
    record = {"id": "a-name", "text": "word " * 200}
    passages.write_text(json.dumps(record) + "\n")
    shown = on_a_terminal("rerank", "a query", "-f", str(passages), "--margin")
    head, row = re.sub(r"\x1b\[[0-9;]*m", "", shown).splitlines()
    assert head.split() == ["rank", "score", "margin", "id", "passage"]
    assert row.split()[0] == "1"
    assert "a-name" in row
    assert "word" in row
    assert len(row.rstrip()) <= 80


def test_progress_stays_out_of_redirected_results(tmp_path):
    passages = tmp_path / "passages.txt"
    passages.write_text("".join(f"passage number {i}\n" for i in range(MANY)))
    with (tmp_path / "out.jsonl").open("wb") as out:
        shown = on_a_terminal("rerank", "q", "-f", str(passages), "--json", stdout=out.fileno())
    assert "encode" in shown
    lines = (tmp_path / "out.jsonl").read_text().splitlines()
    assert [json.loads(line)["rank"] for line in lines] == list(range(1, MANY + 1))
