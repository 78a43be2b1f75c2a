"""One tiny checkpoint for all of these tests, and a reranker that gives a text the same states."""

import pytest

from tests.crash.small_index import load_reranker
from tests.parity.random_checkpoints import TINY, build_checkpoint


@pytest.fixture(scope="package")
def tiny(tmp_path_factory):
    return build_checkpoint(tmp_path_factory.mktemp("tiny") / "tiny", **TINY)


@pytest.fixture(scope="package")
def reranker(tiny):
    return load_reranker(tiny)
