"""What only voyageai's clients ask for."""

import pytest
import voyageai
from voyageai.error import InvalidRequestError

from tests_contract.examples import CAPITAL

_LONG = "word " * 5_000


def test_truncation(server):
    client = voyageai.Client(api_key=server.key, base_url=f"{server.url}/v1")

    answer = client.rerank(CAPITAL.query, [_LONG, *CAPITAL.documents], model="pico")

    assert answer.results[0].index == 2
    assert answer.total_tokens > 500
    with pytest.raises(InvalidRequestError, match=r"documents\[0\]"):
        client.rerank(CAPITAL.query, [_LONG, "short"], model="pico", truncation=False)


def test_empty_documents(server):
    """Its parser raises at any empty string in an answer."""
    client = voyageai.Client(api_key=server.key, base_url=f"{server.url}/v1")
    answer = client.rerank(CAPITAL.query, ["", CAPITAL.documents[1]], model="pico")
    assert [item.index for item in answer.results] == [1, 0]
