"""Passages of the server's index: add, delete, look up."""

from collections.abc import Callable, Iterable, Mapping
from itertools import islice
from typing import Any, Protocol, TypeAlias, TypeVar
from urllib.parse import urlencode

from kalm_reranker.client.answers import AddAnswer
from kalm_reranker.client.bodies import as_json, body_of
from kalm_reranker.client.documents import StoredPassage, checked_id
from kalm_reranker.client.exchange import Exchange, Part
from kalm_reranker.client.reading import Answer
from kalm_reranker.client.remarks import distinct, log_remarks, remarks_of
from kalm_reranker.client.steps import Call, Steps
from kalm_reranker.encoding.texts import check_text
from kalm_reranker.errors import ClientError, TextTypeError, shown

T = TypeVar("T")

_PATH = "/v1/passages"
# So many are taken from what may be a generator, checked, and sent in as few requests as possible.
_BLOCK = 1_000
# Of a URL, well below what servers and proxies take (8 KB).
_MOST_QUERY_BYTES = 4_000


class PassageLike(Protocol):
    """What can be added, such as a `kalm_reranker.Passage`."""

    @property
    def id(self) -> str:
        """Its name."""
        ...

    @property
    def text(self) -> str:
        """The text."""
        ...

    @property
    def metadata(self) -> Mapping[str, Any] | None:
        """What is kept beside it."""
        ...


PassageToAdd: TypeAlias = PassageLike | Mapping[str, Any] | tuple[str, str]


def add(exchange: Exchange, passages: Iterable[PassageToAdd]) -> Steps[AddAnswer]:
    """Adds passages in as few requests as the server takes."""
    if isinstance(passages, str | bytes | Mapping) or not isinstance(passages, Iterable):
        raise TextTypeError(
            f"passages must be an iterable of passages; got {type(passages).__name__}.",
            hint="Put a single passage into a list.",
        )
    items = (
        _passage_as_json(passage, f"passages[{index}]") for index, passage in enumerate(passages)
    )
    answers: list[AddAnswer] = []
    while block := list(islice(items, _BLOCK)):
        answers += yield from _add_block(exchange, block)
    total = AddAnswer(
        added=sum(one.added for one in answers),
        replaced=sum(one.replaced for one in answers),
        metadata_updated=sum(one.metadata_updated for one in answers),
        unchanged=sum(one.unchanged for one in answers),
        truncated=sum(one.truncated for one in answers),
        warnings=distinct(text for one in answers for text in one.warnings),
    )
    log_remarks("add", total.warnings)
    return total


def delete(exchange: Exchange, ids: str | Iterable[str], *, missing_ok: bool) -> Steps[int]:
    """Deletes passages, and returns how many there were."""
    more = "&missing_ok=true" if missing_ok else ""

    def send(query: str) -> Steps[int]:
        # A second try would find nothing any more, and could not tell that from a wrong id.
        call = Call(method="DELETE", path=f"{_PATH}?{query}{more}", repeatable=missing_ok)
        return (yield from exchange.ask(call)).count("deleted")

    return sum((yield from _by_query(exchange, _checked_ids(ids), send)))


def get_many(exchange: Exchange, ids: str | Iterable[str]) -> Steps[list[StoredPassage]]:
    """Returns a passage for each id, in their order."""
    names = _checked_ids(ids)

    def send(query: str) -> Steps[list[StoredPassage]]:
        answer = yield from exchange.ask(Call(method="GET", path=f"{_PATH}?{query}"))
        return [_stored(item) for item in answer.objects("data")]

    parts = yield from _by_query(exchange, names, send)
    found = {passage.id: passage for part in parts for passage in part}
    missing = [name for name in names if name not in found]
    if missing:  # no `kalm serve` leaves one out
        raise ClientError(f"The answer to GET {_PATH} lacks the passage {shown(missing[0])}.")
    return [found[name] for name in names]


def _by_query(
    exchange: Exchange, names: list[str], send: Callable[[str], Steps[T]]
) -> Steps[list[T]]:
    """Sends ids in the queries of URLs, where none can be mistaken for a part of the path."""
    items = [urlencode([("id", name)]).encode() for name in dict.fromkeys(names)]

    def send_part(part: Part) -> Steps[T]:
        return send(b"&".join(items[part.start : part.end]).decode())

    return (yield from exchange.in_parts(items, send_part, most_bytes=_MOST_QUERY_BYTES))


def _stored(item: Answer) -> StoredPassage:
    metadata = item.object("metadata").values
    return StoredPassage(item.text("id"), item.text("text"), metadata or None)


def _checked_ids(ids: str | Iterable[str]) -> list[str]:
    given = [ids] if isinstance(ids, str) else list(ids)
    return [checked_id(name, f"ids[{index}]") for index, name in enumerate(given)]


def _add_block(exchange: Exchange, items: list[bytes]) -> Steps[list[AddAnswer]]:
    def send(part: Part) -> Steps[AddAnswer]:
        body = body_of({}, "passages", items[part.start : part.end])
        answer = yield from exchange.ask(Call(method="POST", path=_PATH, body=body))
        return AddAnswer(
            added=answer.count("added"),
            replaced=answer.count("replaced"),
            metadata_updated=answer.count("metadata_updated"),
            unchanged=answer.count("unchanged"),
            truncated=answer.count("truncated"),
            warnings=remarks_of(answer, 0),
        )

    return (yield from exchange.in_parts(items, send))


def _passage_as_json(passage: object, what: str) -> bytes:
    if isinstance(passage, Mapping):
        fields = [passage.get(name) for name in ("id", "text", "metadata")]
    elif isinstance(passage, tuple | list) and len(passage) == 2:
        fields = [*passage, None]
    elif hasattr(passage, "id") and hasattr(passage, "text"):
        fields = [passage.id, passage.text, getattr(passage, "metadata", None)]
    else:
        raise TextTypeError(
            f"{what} must be a Passage, a mapping with id and text, or an (id, text) pair; "
            f"got {shown(passage)}."
        )
    name, text, metadata = fields
    values = {"id": checked_id(name, f"{what} id"), "text": check_text(text, f"{what} text")}
    return as_json(values if metadata is None else {**values, "metadata": metadata})
