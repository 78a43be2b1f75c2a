"""Connections whose requests are parsed by httptools, which is written in C and optional."""

import asyncio

import httptools
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from kalm_reranker.server.http.connections import LimitedHead


class LimitedHttpTools(LimitedHead, HttpToolsProtocol):  # type: ignore[misc]  # as uvicorn's two do
    """Knows where heads begin and end, since this parser sets no limit to their size.

    It also reads on behind an offer to upgrade. Java's HTTP client makes one (h2c) with every first
    request over plain HTTP; the parser takes it as the end of HTTP/1.1, and the body is lost.
    """

    _in_head = False
    _offers_upgrade = False

    def on_message_begin(self) -> None:
        """Called by the parser at a request's first byte."""
        self._in_head = True
        super().on_message_begin()

    def on_headers_complete(self) -> None:
        """Called by the parser at the empty line."""
        self._in_head = False
        # A CONNECT is "upgraded" by nature: it is refused like any other method.
        self._offers_upgrade = (
            self.parser.should_upgrade() and self.parser.get_method() != b"CONNECT"
        )
        if not self._offers_upgrade:
            super().on_headers_complete()

    def on_message_complete(self) -> None:
        """Called by the parser at the end of a body, or where it believes there is none."""
        if not self._offers_upgrade:
            super().on_message_complete()

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Puts a parser that reads on before the one that does not."""
        self.parser = _Parser(self.parser, self)  # type: ignore[assignment]
        super().connection_made(transport)

    def head_without_offer(self) -> bytes:
        """The head of the request as it would be without offering an upgrade; ends the offer."""
        self._offers_upgrade = False
        lines = [self.parser.get_method() + b" " + self.url + b" HTTP/1.1"]
        lines += [
            name + b": " + value
            for name, value in self.headers
            if name not in (b"upgrade", b"connection", b"http2-settings")
        ]
        return b"\r\n".join([*lines, b"", b""])

    @property
    def offers_upgrade(self) -> bool:
        """Whether the head that has just ended offers another protocol."""
        return self._offers_upgrade

    def _is_in_head(self) -> bool:
        return self._in_head


class _Parser:
    """httptools' parser, for which an upgrade that nobody takes is not the end.

    Args:
        parser: Of a new connection.
        connection: What it calls.
    """

    def __init__(self, parser: "httptools.HttpRequestParser", connection: LimitedHttpTools) -> None:
        self._parser = parser
        self._connection = connection

    def feed_data(self, data: bytes) -> None:
        """Parses bytes, and calls the connection.

        Raises:
            HttpParserError: They are no HTTP.
        """
        try:
            self._parser.feed_data(data)
        except httptools.HttpParserUpgrade as upgrade:
            if not self._connection.offers_upgrade:
                return  # a CONNECT: what follows its head is not HTTP
            rest = data[upgrade.args[0] :]
            head = self._connection.head_without_offer()
            self._parser = _new_parser(self._connection)
            self.feed_data(head + rest)

    def should_upgrade(self) -> bool:
        """Whether the head offers another protocol."""
        offered: bool = self._parser.should_upgrade()
        return offered

    def should_keep_alive(self) -> bool:
        """Whether the client will send more requests."""
        wanted: bool = self._parser.should_keep_alive()
        return wanted

    def get_method(self) -> bytes:
        """The method of the request."""
        method: bytes = self._parser.get_method()
        return method

    def get_http_version(self) -> str:
        """The version of the request, such as "1.1"."""
        version: str = self._parser.get_http_version()
        return version


def _new_parser(connection: LimitedHttpTools) -> "httptools.HttpRequestParser":
    parser = httptools.HttpRequestParser(connection)
    try:
        parser.set_dangerous_leniencies(lenient_data_after_close=True)  # as uvicorn's
    except AttributeError:  # an older httptools, which is lenient by itself
        pass
    return parser
