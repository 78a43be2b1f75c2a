"""JSON lines: one object per line. The corpus of a BEIR directory is written so, too."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from kalm_reranker.errors import DataFileError
from kalm_reranker.index.sources.characters import refuse_nul
from kalm_reranker.index.sources.fields import ID_FIELDS, passage_from_fields
from kalm_reranker.index.sources.record import Record, SourceProblem
from kalm_reranker.index.sources.streams import ByteStream
from kalm_reranker.lines import decoded_line, json_object, numbered
from kalm_reranker.store.passage import Passage


@dataclass(frozen=True)
class JsonLines:
    """Passages as JSON objects, one a line; empty lines are left out.

    Args:
        stream: Where the lines come from.
        id_fields: What the id may be called.
    """

    stream: ByteStream
    id_fields: Sequence[str] = ID_FIELDS

    @property
    def name(self) -> str:
        """The file's path, or "standard input"."""
        return self.stream.name

    def __iter__(self) -> Iterator[Record]:
        """Yields a passage or a problem for each line.

        Raises:
            DataFileError: The file cannot be read (any further).
        """
        with self.stream.open() as file:
            for number, raw in numbered(file, self.name):
                record = self._record(raw, number)
                if record is not None:
                    yield record

    def count(self) -> int | None:
        """Returns the number of lines; None for gzipped files and standard input."""
        return self.stream.count_lines()

    def _record(self, raw: bytes, number: int) -> Passage | SourceProblem | None:
        where = f"{self.name}, line {number}"
        try:
            line = decoded_line(raw, number, self.name)
            if not line.strip():
                return None
            fields = json_object(refuse_nul(line, where), where)
            return passage_from_fields(fields, where, id_fields=self.id_fields)
        except DataFileError as error:
            return SourceProblem(where, error)
