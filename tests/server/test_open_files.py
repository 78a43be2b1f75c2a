"""The limit of open files, in a process of its own: it cannot be taken back."""

import subprocess
import sys

import pytest

pytest.importorskip("resource", reason="there is no such limit")

_ASK = """
import logging, resource
from kalm_reranker.server.open_files import allow_open_files
from kalm_reranker.server.settings import Limits

logging.basicConfig(format="%(message)s")
resource.setrlimit(resource.RLIMIT_NOFILE, ({soft}, {hard}))
allow_open_files(Limits(max_pending_requests={pending}))
print(resource.getrlimit(resource.RLIMIT_NOFILE)[0])
"""


def ask(**numbers):
    code = _ASK.format(**numbers)
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    return int(done.stdout), done.stderr


@pytest.mark.parametrize(
    ("soft", "hard", "pending", "expected"),
    [
        (1_024, 4_096, 256, 1_536),  # 256 and 512 connections, 512 of the index, 256 others
        (2_048, 4_096, 256, 2_048),
        (1_024, 4_096, 16, 1_024),
    ],
)
def test_it_is_raised_to_what_is_needed(soft, hard, pending, expected):
    assert ask(soft=soft, hard=hard, pending=pending) == (expected, "")


def test_where_it_cannot_be_raised_so_far_the_log_says_so():
    limit, said = ask(soft=1_024, hard=1_400, pending=256)
    assert limit == 1_400
    assert "may have 1400 files open and needs up to 1536" in said
