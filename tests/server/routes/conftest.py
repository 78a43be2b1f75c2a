"""The app, in this process, before a model and an index that are real."""

from contextlib import ExitStack

import pytest
from fastapi.testclient import TestClient

from kalm_reranker.index.passage_index import PassageIndex
from kalm_reranker.reranker import KaLMReranker
from kalm_reranker.server.app import build_app
from kalm_reranker.server.lifecycle import Lifecycle
from kalm_reranker.server.service import Service
from kalm_reranker.server.settings import ServerSettings


@pytest.fixture(scope="package")
def reranker():
    return KaLMReranker("pico", dtype="float32", engine="eager", special_tokens="text")


@pytest.fixture
def index(tmp_path, reranker):
    with PassageIndex.create(tmp_path / "index", reranker) as made:
        yield made


@pytest.fixture(scope="module")
def serve(reranker):
    """Returns a client of an app; arguments are settings, and the index where there is one."""
    with ExitStack() as stack:

        def served(index=None, **settings):
            chosen = ServerSettings(**settings)
            # Servers of a module have one reranker in turn; the last one computes.
            reranker.pipeline.compute = reranker.pipeline.direct
            service = Service(reranker, chosen.limits, index=index)
            app = build_app(chosen, Lifecycle.ready(chosen, service))
            return stack.enter_context(TestClient(app, base_url="http://127.0.0.1:8000"))

        yield served
