"""Noticing that the client is gone while its request is being worked on."""

from starlette.types import Receive

from kalm_reranker.errors import RequestCancelledError
from kalm_reranker.server.admission import Ticket


async def interrupt_if_client_leaves(receive: Receive, ticket: Ticket) -> None:
    """Waits until the connection is lost, and then interrupts the request.

    Args:
        receive: Of the request, whose body has been read.
        ticket: Of the request.
    """
    while (await receive())["type"] != "http.disconnect":
        pass
    ticket.interrupt(RequestCancelledError("the client has closed the connection."))
