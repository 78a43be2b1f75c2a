"""Passages of the server's index: add, delete, look up."""

from collections.abc import Iterable, Iterator, Mapping
from itertools import islice
from typing import Any, Protocol, TypeAlias
from urllib.parse import quote, urlencode

from kalm_reranker.client.answers import AddAnswer
from kalm_reranker.client.bodies import as_json, body_of
from kalm_reranker.client.documents import StoredPassage, checked_id
from kalm_reranker.client.exchange import Exchange, Part
from kalm_reranker.client.remarks import distinct, log_remarks
from kalm_reranker.client.steps import Call, Steps
from kalm_reranker.encoding.texts import check_text
from kalm_reranker.errors import TextTypeError, shown

_PATH = "/v1/passages"
# So many are taken from what may be a generator, checked, and sent in as few requests as possible.
_BLOCK = 1_000
# Of a URL, well below what servers and proxies take (8 KB).
_MOST_QUERY_CHARS = 4_000


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
    log_remarks("add", (), total.warnings)
    return total


def delete(exchange: Exchange, ids: str | Iterable[str], *, missing_ok: bool) -> Steps[int]:
    """Deletes passages, and returns how many there were."""
    given = [ids] if isinstance(ids, str) else list(ids)
    names = [checked_id(name, f"ids[{index}]") for index, name in enumerate(given)]
    count = 0
    for query in _queries(names, missing_ok):
        # A second try would find nothing any more, and could not tell that from a wrong id.
        call = Call(method="DELETE", path=f"{_PATH}?{query}", repeatable=missing_ok)
        count += (yield from exchange.ask(call)).count("deleted")
    return count


def get(exchange: Exchange, passage_id: str) -> Steps[StoredPassage]:
    """Returns a passage."""
    name = checked_id(passage_id, "passage_id")
    answer = yield from exchange.ask(Call(method="GET", path=f"{_PATH}/{quote(name, safe='')}"))
    metadata = answer.object("metadata").values
    return StoredPassage(
        answer.text("id"), answer.text("text") if "text" in answer else None, metadata or None
    )


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
            warnings=answer.object("meta").texts("warnings"),
        )

    return (yield from exchange.in_parts(items, 0, send))


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


def _queries(names: list[str], missing_ok: bool) -> Iterator[str]:
    """Yields ids as queries of URLs, each short enough."""
    more = [("missing_ok", "true")] if missing_ok else []
    part: list[tuple[str, str]] = []
    size = 0
    for name in names:
        pair = ("id", name)
        length = len(urlencode([pair])) + 1
        if part and size + length > _MOST_QUERY_CHARS:
            yield urlencode(part + more)
            part, size = [], 0
        part.append(pair)
        size += length
    if part:
        yield urlencode(part + more)
