"""What a client's user sees when the server refuses."""

import threading

import pytest

from tests_contract.client import Client
from tests_contract.examples import CAPITAL
from tests_contract.occupied import Occupied
from tests_contract.serving import Server


def test_wrong_key(client: Client, server: Server) -> None:
    with pytest.raises(client.unauthorized):
        client.rank(server.url, "no-such-key", CAPITAL.query, CAPITAL.documents)


def test_overloaded(client: Client, narrow_server: Server) -> None:
    with Occupied(narrow_server), pytest.raises(client.overloaded):
        client.rank(narrow_server.url, narrow_server.key, CAPITAL.query, CAPITAL.documents)


@pytest.mark.only("retries")
def test_retry(client: Client, narrow_server: Server) -> None:
    """Its own retries outlast a server that is full for a moment."""
    with Occupied(narrow_server) as occupied:
        leaving = threading.Timer(0.3, occupied.leave)
        leaving.start()
        try:
            ranked = client.rank(
                narrow_server.url, narrow_server.key, CAPITAL.query, CAPITAL.documents
            )
        finally:
            leaving.join()
    assert ranked[0].index == 1
