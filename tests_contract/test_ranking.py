"""What a client's user gets is what the server says, and it is right."""

import pytest

from tests_contract import plain
from tests_contract.answered import answered_paths
from tests_contract.client import Client
from tests_contract.examples import EXAMPLES, HONEY, Example
from tests_contract.serving import Server

TOLERANCE = 1e-6
"""Scores are float64 made of float32 logits; what else is in the batch may move their last bits."""


@pytest.mark.parametrize("example", EXAMPLES, ids=["two", "five"])
def test_ranking(client: Client, server: Server, example: Example) -> None:
    expected = plain.scores(server.url, server.key, example.query, example.documents)

    ranked = client.rank(server.url, server.key, example.query, example.documents)

    order = sorted(range(len(expected)), key=lambda index: -expected[index])
    assert [item.index for item in ranked] == order
    assert {item.index for item in ranked[: len(example.relevant)]} == example.relevant
    assert [item.score for item in ranked] == pytest.approx(
        [expected[index] for index in order], abs=TOLERANCE
    )
    assert all(0 <= item.score <= 1 for item in ranked)


def test_path(client: Client, server: Server) -> None:
    before = answered_paths(server)

    client.rank(server.url, server.key, HONEY.query, HONEY.documents)

    assert answered_paths(server) - before == {client.path: 1}


@pytest.mark.only("cuts")
@pytest.mark.parametrize("top_n", [1, 3])
def test_top_n(client: Client, server: Server, top_n: int) -> None:
    all_of_them = client.rank(server.url, server.key, HONEY.query, HONEY.documents)

    best = client.rank(server.url, server.key, HONEY.query, HONEY.documents, top_n)

    assert [item.index for item in best] == [item.index for item in all_of_them[:top_n]]


@pytest.mark.only("texts")
def test_documents(client: Client, server: Server) -> None:
    ranked = client.rank(server.url, server.key, HONEY.query, HONEY.documents)

    assert [item.text for item in ranked] == [HONEY.documents[item.index] for item in ranked]
