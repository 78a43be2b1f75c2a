"""Connections whose requests are parsed by httptools, which is written in C and optional."""

from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from kalm_reranker.server.http.connections import LimitedHead


class LimitedHttpTools(LimitedHead, HttpToolsProtocol):  # type: ignore[misc]  # as uvicorn's two do
    """Knows where heads begin and end, since this parser sets no limit to their size."""

    _in_head = False

    def on_message_begin(self) -> None:
        """Called by the parser at a request's first byte."""
        self._in_head = True
        super().on_message_begin()

    def on_headers_complete(self) -> None:
        """Called by the parser at the empty line."""
        self._in_head = False
        super().on_headers_complete()

    def _is_in_head(self) -> bool:
        return self._in_head
