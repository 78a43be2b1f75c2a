"""An empty store, and passages for it."""

import pytest

from kalm_reranker.store.checksums import text_hash
from kalm_reranker.store.records import EncodedPassage
from kalm_reranker.store.sqlite_store import SQLiteStore
from tests.store.headers import a_header

SLOT = bytes(16)  # 4 float32


@pytest.fixture
def store(tmp_path):
    store = SQLiteStore.create(tmp_path / "store", a_header())
    yield store
    store.close()


@pytest.fixture
def passage():
    """Makes a passage of 3 tokens in 2 slots."""

    def make(name, text="text", **values):
        return EncodedPassage(
            **{
                "id": name,
                "text": text,
                "metadata": None,
                "text_hash": text_hash(text),
                "token_count": 3,
                "truncated": False,
                "slots": 2 * SLOT,
                **values,
            }
        )

    return make
