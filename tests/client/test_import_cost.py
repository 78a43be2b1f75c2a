"""What a program pays that only asks a server."""

import subprocess
import sys

import pytest


def run(code):
    return subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)


@pytest.mark.parametrize("module", ["client", "cli.vllm_client", "cli.vllm_serve"])
def test_no_torch(module):
    done = run(f"import sys, kalm_reranker.{module}; print(*sys.modules)")
    assert not set(done.stdout.split()) & {"torch", "transformers", "fastapi", "pydantic", "numpy"}


def test_importing_the_client_is_quick():
    code = (
        "import time, httpx; start = time.perf_counter(); import kalm_reranker.client;"
        "print(time.perf_counter() - start)"
    )
    # Best of three: others may use the machine. PyTorch alone would take several times as long.
    assert min(float(run(code).stdout) for _ in range(3)) < 0.25


def test_without_httpx_the_error_says_what_to_install():
    done = run(
        "import sys; sys.modules['httpx'] = None\n"
        "from kalm_reranker.errors import MissingExtraError\n"
        "try:\n    import kalm_reranker.client\n"
        "except MissingExtraError as error:\n    print(error)"
    )
    assert 'pip install "kalm-reranker[client]"' in done.stdout
