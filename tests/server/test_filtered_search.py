"""A search whose filter looks at many passages, for a client that does not wait."""

import asyncio
import time

import pytest

from kalm_reranker.errors import DeadlineExceededError
from kalm_reranker.server.calls import SearchCall
from tests.server.small_service import Small


def test_a_filter_ends_with_its_request(tmp_path):
    small = Small(tmp_path)
    stored = {str(number): f"The river number {number}." for number in range(60)}
    looked_at = []

    def slow(metadata):
        looked_at.append(metadata)
        time.sleep(0.02)
        return False

    async def search():
        return await service.search(SearchCall(query="river", filter=slow), time.monotonic() + 0.2)

    with small.service(small.index(tmp_path / "index", stored)) as service:
        with pytest.raises(DeadlineExceededError):
            asyncio.run(search())

    assert 0 < len(looked_at) < 40
