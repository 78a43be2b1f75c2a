"""Sockets of a server."""

import socket

import pytest

from kalm_reranker.errors import InvalidOptionError
from kalm_reranker.server.listening import listen, url_of


def test_any_free_port(stack):
    sockets = listen("127.0.0.1", 0)
    stack.callback(sockets[0].close)
    assert len(sockets) == 1
    port = sockets[0].getsockname()[1]
    assert port > 0
    assert url_of(sockets[0]) == f"http://127.0.0.1:{port}"


def test_all_addresses_of_a_name_have_one_port(stack):
    sockets = listen("localhost", 0)
    for opened in sockets:
        stack.callback(opened.close)
    assert len({opened.getsockname()[1] for opened in sockets}) == 1
    assert all(opened.getsockname()[0] in ("127.0.0.1", "::1") for opened in sockets)


@pytest.mark.skipif(not socket.has_ipv6, reason="no IPv6")
def test_addresses_of_ipv6_are_written_in_brackets(stack):
    try:
        sockets = listen("::1", 0)
    except InvalidOptionError:
        pytest.skip("no IPv6 on this machine")
    stack.callback(sockets[0].close)
    assert url_of(sockets[0]).startswith("http://[::1]:")


def test_a_port_in_use(stack):
    first = listen("127.0.0.1", 0)[0]
    stack.callback(first.close)
    port = first.getsockname()[1]
    with pytest.raises(InvalidOptionError, match=f"port {port}: another program listens") as caught:
        listen("127.0.0.1", port)
    assert "--port" in caught.value.hint


def test_a_port_that_was_in_use_a_moment_ago(stack):
    first = listen("127.0.0.1", 0)[0]
    port = first.getsockname()[1]
    with socket.create_connection(("127.0.0.1", port)):
        first.close()
    second = listen("127.0.0.1", port)[0]
    stack.callback(second.close)


@pytest.mark.parametrize("host", ["no such name", "203.0.113.7", "x" * 300, "é.invalid", "1.2.3"])
def test_hosts_that_are_not_here(host):
    with pytest.raises(InvalidOptionError):
        listen(host, 0)
