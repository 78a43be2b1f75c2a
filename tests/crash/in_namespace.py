"""Programs that run with file systems of their own: a small one that gets full, a read-only one."""

import os
import shutil
import subprocess
import sys
from functools import cache
from pathlib import Path

ROOT = Path(__file__).parents[2]


@cache
def why_not():
    """Returns why file systems cannot be mounted here; None where they can."""
    if shutil.which("unshare") is None:
        return "there is no unshare"
    tried = subprocess.run(
        ["unshare", "-rm", "mount", "-t", "tmpfs", "tmpfs", "/mnt"], capture_output=True, text=True
    )
    return None if tried.returncode == 0 else f"no mounts here: {tried.stderr.strip()}"


def run(mount, code, *args):
    """Runs a mount command and then Python code in a namespace; returns what the code printed."""
    quoted = subprocess.list2cmdline(mount)
    done = subprocess.run(
        ["unshare", "-rm", "sh", "-c", f'{quoted} && exec "$0" -c "$@"', sys.executable, code]
        + [str(arg) for arg in args],
        cwd=ROOT,
        env={**os.environ, "OMP_NUM_THREADS": "1", "TOKENIZERS_PARALLELISM": "false"},
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout
