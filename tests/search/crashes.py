"""Programs run in other processes: to be killed, to hold a lock, to meet a full disk."""

import subprocess
import sys
import time
from pathlib import Path

ROOT = Path(__file__).parents[2]


def start(code, *args):
    """Starts Python code in a new process; what it prints can be read from `stdout`."""
    return subprocess.Popen(
        [sys.executable, "-c", code, *map(str, args)],
        cwd=ROOT,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
    )


def kill_after(process, seconds):
    """Kills a process, the hard way, some time after it has said that it starts."""
    assert process.stdout.readline().strip() == "ready"
    time.sleep(seconds)
    process.kill()
    process.communicate()
