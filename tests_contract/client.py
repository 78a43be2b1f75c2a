"""What a test knows of a client: how its user sets it up, calls it, and reads its answer."""

import importlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple


class Ranked(NamedTuple):
    """A result, as the client's user gets it.

    Attributes:
        index: Position of the document in the request.
        score: Its score.
        text: Its text, where the client's answer holds it.
    """

    index: int
    score: float
    text: str | None = None


@dataclass(frozen=True, kw_only=True)
class Client:
    """A client as its user would write it. `setup` and `call` are run as they are documented.

    In these lines `URL` is the root of the server, `KEY` one of its keys, and `query`, `documents`
    and `top_n` are the caller's. They are run, not imitated, so that docs/clients-tested.md, which
    shows them, cannot be wrong.

    Args:
        name: What its users call it.
        package: Distribution whose version counts; None where there is none.
        path: Path it calls.
        imports: Import lines.
        setup: Statements that make the client, one of them named `client` if there is an object.
        call: Expression that calls it.
        read: From the value of `call` and the documents' texts to results.
        wrap: From texts to what the client's users pass as documents.
        cuts: Whether its user can ask for the best few.
        texts: Whether its answer holds texts that came from the server.
        unauthorized: What it raises at 401.
        overloaded: What it raises at 429, once it gave up.
        retries: Whether it asks again by itself after 429.
        settings: What its users enter, where they write no code.
        note: What its user should know.
    """

    name: str
    package: str | None
    path: str
    imports: str
    setup: str
    call: str
    read: Callable[[Any, Sequence[str]], list[Ranked]]
    wrap: Callable[[Sequence[str]], Any] = list
    cuts: bool = True
    texts: bool = False
    unauthorized: tuple[type[Exception], ...]
    overloaded: tuple[type[Exception], ...]
    retries: bool = False
    settings: str = ""
    note: str = ""

    def rank(
        self, url: str, key: str, query: str, documents: Sequence[str], top_n: int | None = None
    ) -> list[Ranked]:
        """Ranks documents by a client made for this call.

        Args:
            url: Root of the server.
            key: API key.
            query: The query.
            documents: Texts.
            top_n: How many results to ask for; all, if None.

        Returns:
            Results in the order of the client's answer.
        """
        names: dict[str, Any] = {
            "URL": url,
            "KEY": key,
            "query": query,
            "documents": self.wrap(documents),
            "top_n": len(documents) if top_n is None else top_n,
        }
        for lines in (self.imports, self.setup):
            exec(lines, names)
        return self.read(eval(self.call, names), documents)


def clients_of(modules: Sequence[str]) -> list[Client]:
    """Returns the clients of modules of `tests_contract.clients`."""
    return [
        client
        for module in modules
        for client in importlib.import_module(f"tests_contract.clients.{module}").CLIENTS
    ]
