"""The commands as users run them: new processes, real pipes."""

import hashlib
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
USAGE = ROOT / "examples" / "usage.py"
KALM = Path(sys.executable).with_name("kalm")
# Of the program's lines as published, without indentation.
PUBLISHED_LINES_SHA256 = "66666a105940b296edb02973f5ddecab2e6796883a22f446289a2b66ebf564d1"


def run(*arguments, stdin=""):
    return subprocess.run(
        [str(argument) for argument in arguments], input=stdin, capture_output=True, text=True
    )


def test_the_usage_program_is_the_published_one_but_for_its_indentation():
    lines = "\n".join(line.strip() for line in USAGE.read_text().splitlines())
    assert hashlib.sha256(lines.encode()).hexdigest() == PUBLISHED_LINES_SHA256


@pytest.mark.parametrize("options", [[], ["--chunk-size", "none"], ["--dtype", "fp32"]], ids=str)
def test_the_usage_program_runs(options):
    done = run(sys.executable, USAGE, "--model", "pico", *options)
    assert (done.returncode, done.stderr) == (0, "")
    scores, rankings = done.stdout.splitlines()
    scores = json.loads(scores.removeprefix("scores: "))
    assert scores[0] > 0.5 > scores[1]
    assert rankings.startswith("rankings: [{'corpus_id': 0, 'score': 0.")


def test_the_usage_programs_own_checks_work():
    done = run(sys.executable, USAGE, "--model", "pico", "--chunk-size", "0")
    assert done.returncode == 2
    assert "must be a positive integer or 'none'" in done.stderr


def test_passages_from_a_pipe_as_text_and_as_json():
    done = run(KALM, "rerank", "capital of China", "-f", "-", stdin="Beijing.\nGravity.\n")
    assert (done.returncode, done.stderr) == (0, "")
    assert len(done.stdout.splitlines()) == 3
    line = json.dumps({"text": "Beijing.", "id": "b"}) + "\n"
    done = run(KALM, "rerank", "capital of China", "-f", "-", "--json", stdin=line)
    assert json.loads(done.stdout)["id"] == "b"


def test_a_reader_that_stops_early_is_no_error():
    many = "".join(f"passage {i}\n" for i in range(300))
    done = subprocess.run(
        f"'{KALM}' rerank q -f - --json | head -n 1",
        shell=True,
        input=many,
        capture_output=True,
        text=True,
    )
    assert (done.returncode, done.stderr) == (0, "")
    assert json.loads(done.stdout)["rank"] == 1


def test_a_terminal_without_unicode_still_shows_everything_else():
    ascii_only = {**os.environ, "PYTHONIOENCODING": "ascii", "PYTHONUTF8": "0"}
    command = [str(KALM), "rerank", "q", "Café 北京 " * 30, "b"]
    done = subprocess.run(command, capture_output=True, text=True, env=ascii_only)
    assert (done.returncode, done.stderr) == (0, "")
    assert "Caf?" in done.stdout
    done = subprocess.run([*command, "--json"], capture_output=True, text=True, env=ascii_only)
    assert "Café 北京 " * 30 in {json.loads(line)["text"] for line in done.stdout.splitlines()}


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs /dev/full")
def test_a_full_disk_is_an_error():
    with Path("/dev/full").open("w") as full:
        done = subprocess.run(
            [str(KALM), "rerank", "q", "d"], stdout=full, stderr=subprocess.PIPE, text=True
        )
    assert done.returncode == 1
    assert done.stderr == "error: writing the result failed: No space left on device\n"


def test_closed_streams_are_no_surprise():
    done = subprocess.run(f"'{KALM}' rerank q -f - <&-", shell=True, capture_output=True, text=True)
    assert done.returncode == 1
    assert "error: standard input is closed." in done.stderr
    many = "".join(f"passage {i}\n" for i in range(250))
    done = subprocess.run(
        f"'{KALM}' rerank q -f - --json 2>&-",
        shell=True,
        input=many,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert (done.returncode, len(done.stdout.splitlines())) == (0, 250)


def test_bytes_that_are_no_text_are_an_error():
    done = subprocess.run(
        [str(KALM), "rerank", "q", "-f", "-"], input=b"fine\n\xff\xfe\n", capture_output=True
    )
    assert done.returncode == 1
    assert b"standard input, line 2: expected UTF-8 text" in done.stderr


def test_an_argument_that_is_no_text_is_an_error():
    done = subprocess.run([str(KALM).encode(), b"rerank", b"q\xff", b"d"], capture_output=True)
    assert done.returncode == 1
    assert b"error: query holds a lone surrogate" in done.stderr
