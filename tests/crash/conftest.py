"""One tiny checkpoint for all of these tests, and a reranker that gives a text the same states."""

import os
import shutil
import tempfile
from pathlib import Path

import pytest

from tests.crash.small_index import load_reranker
from tests.parity.random_checkpoints import TINY, build_checkpoint


@pytest.fixture(scope="package")
def tiny(tmp_path_factory):
    sizes = TINY | {"num_hidden_layers": 2, "layer_types": TINY["layer_types"][:2]}
    return build_checkpoint(tmp_path_factory.mktemp("tiny") / "tiny", **sizes)


@pytest.fixture(scope="package")
def reranker(tiny):
    return load_reranker(tiny)


@pytest.fixture
def scratch(tmp_path):
    """An empty folder in memory, where there is such a place: durable writes cost nothing there."""
    memory = Path("/dev/shm")
    if not (memory.is_dir() and os.access(memory, os.W_OK)):
        yield tmp_path
        return
    folder = Path(tempfile.mkdtemp(prefix="kalm-crash-", dir=memory))
    yield folder
    shutil.rmtree(folder)
