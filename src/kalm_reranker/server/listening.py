"""Sockets that listen, opened before all else: a port in use should not cost a model's load."""

import errno
import os
import socket

from kalm_reranker.errors import InvalidOptionError, shown

_BACKLOG = 2048  # uvicorn's


def listen(host: str, port: int) -> list[socket.socket]:
    """Returns sockets bound to all addresses of a host, with the same port.

    Args:
        host: Name or address.
        port: 0 for any that is free.

    Raises:
        InvalidOptionError: The host has no address here, or the port cannot be had.
    """
    try:
        found = socket.getaddrinfo(
            host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE, proto=socket.IPPROTO_TCP
        )
    except (OSError, UnicodeError):
        raise InvalidOptionError(
            f"--host must be an address or a name of this machine; got {shown(host)}."
        ) from None
    sockets: list[socket.socket] = []
    try:
        # A set: some hosts files name an address twice.
        for family, address in sorted({(entry[0], entry[4]) for entry in found}):
            chosen = sockets[0].getsockname()[1] if sockets else port
            bound = _bind(family, (address[0], chosen, *address[2:]))
            if bound is not None:
                sockets.append(bound)
    except OSError as error:
        for opened in sockets:
            opened.close()
        raise _refused(host, port, error) from None
    if not sockets:
        raise InvalidOptionError(f"{shown(host)} has no address that this machine can listen on.")
    return sockets


def url_of(listening: socket.socket) -> str:
    """Returns the address of a socket as clients write it."""
    host, port = listening.getsockname()[:2]
    return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"


def _bind(family: int, address: tuple[object, ...]) -> socket.socket | None:
    """A bound socket; None where the system has no such family (IPv6 switched off)."""
    try:
        bound = socket.socket(family, socket.SOCK_STREAM)
    except OSError:
        return None
    try:
        if os.name == "posix":  # elsewhere it would share the port with whoever has it
            bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if family == socket.AF_INET6:
            bound.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
        bound.bind(address)
        bound.listen(_BACKLOG)
        bound.setblocking(False)
    except OSError as error:
        bound.close()
        if family == socket.AF_INET6 and error.errno == errno.EADDRNOTAVAIL:
            return None
        raise
    return bound


def _refused(host: str, port: int, error: OSError) -> InvalidOptionError:
    reason = {
        errno.EADDRINUSE: "another program listens there",
        errno.EACCES: "ports below 1024 need privileges",
        errno.EADDRNOTAVAIL: "it is no address of this machine",
    }.get(error.errno or 0, (error.strerror or "the system refuses").lower())
    return InvalidOptionError(
        f"cannot listen on {host}, port {port}: {reason}.",
        hint="Choose another --port; 0 takes any that is free.",
    )
