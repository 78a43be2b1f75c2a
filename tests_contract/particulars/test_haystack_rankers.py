"""What only Haystack's rankers ask for."""

import pytest
from haystack import Document
from haystack.utils import Secret
from haystack_integrations.components.rankers.huggingface_api import (
    HuggingFaceTEIRanker,
    TruncationDirection,
)

from tests_contract.examples import CAPITAL

_DOCUMENTS = [Document(content=text) for text in (*CAPITAL.documents, "word " * 5_000)]


def test_truncation_from_the_right(server):
    ranker = HuggingFaceTEIRanker(url=server.url, token=Secret.from_token(server.key))
    right = TruncationDirection.RIGHT
    found = ranker.run(CAPITAL.query, _DOCUMENTS, truncation_direction=right)["documents"]
    assert found[0].content == CAPITAL.documents[1]


def test_truncation_from_the_left_is_refused(server):
    """In words that reach the user."""
    ranker = HuggingFaceTEIRanker(url=server.url, token=Secret.from_token(server.key))
    with pytest.raises(RuntimeError, match="truncation_direction"):
        ranker.run(CAPITAL.query, _DOCUMENTS, truncation_direction=TruncationDirection.LEFT)


def test_raw_scores_are_margins(server):
    ranker = HuggingFaceTEIRanker(
        url=server.url, token=Secret.from_token(server.key), raw_scores=True
    )
    found = ranker.run(CAPITAL.query, _DOCUMENTS[:2])["documents"]
    assert found[0].score > 0 > found[1].score
