"""One benchmark of the tiny shape, run once for all tests that look at its report."""

import pytest

from kalm_reranker.bench.run import run_bench
from kalm_reranker.bench.settings import BenchSettings


@pytest.fixture(scope="session")
def tiny_report():
    settings = BenchSettings(
        model="tiny-shape",
        lengths=(64, 32),
        ratios=(2, 8),
        candidates=6,
        query_tokens=5,
        batch_size=4,
        rounds=2,
        warm_up=0,
        dtype="float32",
        limit_s=600,
        memory=False,
    )
    return run_bench(settings, show_progress=False)
