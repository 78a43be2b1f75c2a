"""What a client is told of ids that its server does not have."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager

from kalm_reranker.errors import UnknownPassageError, shown
from kalm_reranker.index.passage_index import PassageIndex

_MOST_NAMED = 5


@contextmanager
def naming_unknown(index: PassageIndex, ids: Sequence[str]) -> Iterator[None]:
    """Says an unknown id in the block without the index's folder.

    Raises:
        UnknownPassageError: An id is not in the index.
    """
    try:
        yield
    except UnknownPassageError:
        raise unknown_passages(index, ids) from None


def unknown_passages(index: PassageIndex, ids: Sequence[str]) -> UnknownPassageError:
    """Returns an error that names the ids that are not in the index, but not its folder."""
    distinct = list(dict.fromkeys(ids))
    missing = [name for name in distinct if name not in index]
    if not missing:  # they were there when this was looked up, and not when they were read
        return UnknownPassageError("A passage was deleted while it was read.")
    more = ", ..." if len(missing) > _MOST_NAMED else ""
    return UnknownPassageError(
        f"{len(missing)} of {len(distinct)} ids are not in the index: "
        f"{', '.join(map(shown, missing[:_MOST_NAMED]))}{more}."
    )
