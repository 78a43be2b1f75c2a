"""The columns of a table: which one is the id, which the text, which the title."""

from collections.abc import Sequence
from dataclasses import dataclass

from kalm_reranker.errors import DataFileError, shown
from kalm_reranker.index.sources.fields import ID_FIELDS, passage_from_fields
from kalm_reranker.store.passage import Passage


@dataclass(frozen=True)
class Columns:
    """The columns of a table, by position; made by `named_columns`.

    Args:
        id: Where the id stands.
        text: Where the text stands.
        title: Where the title stands, if there is one.
        others: Names of all other columns that are kept, with their positions.
        count: How many fields a row has.
    """

    id: int
    text: int
    title: int | None
    others: tuple[tuple[str, int], ...]
    count: int

    def passage(self, cells: Sequence[object], where: str) -> Passage:
        """Returns the passage that a row describes.

        Cells of other columns become metadata. A null there is left out, since a table has no
        other way to say that a row lacks a field. A mapping in a column named `metadata` (parquet
        has such) is merged, as in JSON lines.

        Args:
            cells: The row, one value for each column.
            where: File and line, for messages.

        Raises:
            DataFileError: A value is missing, is not what it should be, or cannot be stored.
        """
        metadata = {name: cells[at] for name, at in self.others if cells[at] is not None}
        nested = metadata.get("metadata")
        if isinstance(nested, dict):
            del metadata["metadata"]
            metadata |= nested
        fields = {"id": cells[self.id], "text": cells[self.text], "metadata": metadata}
        if self.title is not None:
            fields["title"] = cells[self.title]
        return passage_from_fields(fields, where)


def named_columns(names: Sequence[str], what: str) -> Columns:
    """Returns what the columns mean, by their names, in upper or lower case.

    Args:
        names: One for each column; a column without a name ("") is dropped.
        what: What messages call the names, such as "corpus.tsv, line 1".

    Raises:
        DataFileError: There is no id or no text among them, or a name stands there twice.
    """
    kept = [name for name in names if name]
    for name in kept:
        if kept.count(name) > 1:
            raise DataFileError(
                f"{what}: expected columns with different names; got {name!r} twice.",
                hint="Rename one of the two.",
            )
    id_at = next((at for field in ID_FIELDS if (at := _find(names, field, what)) is not None), None)
    text_at = _find(names, "text", what)
    title_at = _find(names, "title", what)
    if id_at is None or text_at is None:
        missing = "a column for the id" if id_at is None else 'a column "text"'
        raise DataFileError(
            f"{what}: expected {missing}; got {shown(list(names))}.",
            hint=f"The id is called {', '.join(ID_FIELDS[:-1])} or {ID_FIELDS[-1]}, the text is "
            "called text; rename the columns, or name them in their order (--columns).",
        )
    taken = {id_at, text_at, title_at}
    others = tuple((name, at) for at, name in enumerate(names) if name and at not in taken)
    return Columns(id_at, text_at, title_at, others, len(names))


def is_header(cells: Sequence[str]) -> bool:
    """Tells whether the first row of a table names its columns: one of them is called text."""
    return any(cell.strip().lower() == "text" for cell in cells)


def _find(names: Sequence[str], wanted: str, what: str) -> int | None:
    """Returns the position of a name; its exact spelling goes before others."""
    found = [at for at, name in enumerate(names) if name == wanted]
    found = found or [at for at, name in enumerate(names) if name.lower() == wanted]
    if len(found) > 1:
        raise DataFileError(
            f'{what}: expected one column "{wanted}"; got {", ".join(names[at] for at in found)}.',
            hint="Rename one of them.",
        )
    return found[0] if found else None
