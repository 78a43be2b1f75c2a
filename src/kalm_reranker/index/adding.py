"""Adding passages to a store: what is new is encoded, what is known is skipped, block by block.

A block is committed as a whole, so an interrupted add has lost at most one, and running it again
skips what was committed. Memory holds one block, whatever the length of the input.
"""

import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from kalm_reranker.encoding.windows import num_windows
from kalm_reranker.errors import DataFileError, InvalidOptionError, InvalidTextError, shown
from kalm_reranker.index.report import AddReport
from kalm_reranker.index.sources.record import Record, SourceProblem
from kalm_reranker.model.pooling import num_slots
from kalm_reranker.store.checksums import text_hash
from kalm_reranker.store.codecs import check_finite_slots, codec_named
from kalm_reranker.store.passage import Passage, metadata_json
from kalm_reranker.store.protocol import PassageStore
from kalm_reranker.store.records import EncodedPassage, KnownPassage

if TYPE_CHECKING:
    from kalm_reranker.reranker import KaLMReranker
    from kalm_reranker.search.dense_model import DenseModel

OnError = Literal["raise", "skip"]

# A commit costs a wait for the disk (some 40 ms), a crash the work since the last one: blocks grow
# until one takes about this long.
_BLOCK_S = 2.0
_FIRST_BLOCK = 32  # passages
_LARGEST_BLOCK = 8_192
_BLOCK_STATES_BYTES = 256 * 2**20  # of the longest possible passages
_BLOCK_TEXT_BYTES = 16 * 2**20
_MOST_STATES_BYTES = 999_000_000  # of a passage: SQLite's rows end at 10**9 bytes


@dataclass(slots=True)
class _Pending:
    """The last passage of a block under one id, as it will be stored."""

    passage: Passage
    hashed: bytes
    metadata: str | None


class Adder:
    """Adds passages to a store.

    Args:
        store: Where to.
        reranker: Encodes; made with the store's model, ratio, length and dtype.
        dense: Makes a vector of each text; None where the store keeps none.
    """

    def __init__(
        self, store: PassageStore, reranker: "KaLMReranker", dense: "DenseModel | None"
    ) -> None:
        self._store = store
        self._reranker = reranker
        self._dense = dense
        header = store.header
        self._codec = codec_named(header.codec)
        longest = num_slots(header.provenance.max_length, header.compression_ratio)
        states_bytes = longest * header.width * reranker.dtype.itemsize
        self._largest_block = max(1, min(_LARGEST_BLOCK, _BLOCK_STATES_BYTES // states_bytes))
        self._block = min(_FIRST_BLOCK, self._largest_block)
        self._largest_text = _BLOCK_TEXT_BYTES
        if header.provenance.window is not None:
            # Passages have no longest length then; a token rarely has less than a character.
            windows = _BLOCK_STATES_BYTES // states_bytes
            fitting = windows * header.provenance.max_length
            self._largest_text = max(1, min(_BLOCK_TEXT_BYTES, fitting))

    def add(
        self,
        records: Iterable[Record],
        *,
        on_error: OnError,
        on_progress: Callable[[AddReport], None],
    ) -> AddReport:
        """Adds what the records hold; the caller holds the writer lock.

        Args:
            records: Passages, and what stands where one should be. Read as they are needed.
            on_error: What to do with the latter: "raise" stops at the first, after committing
                what came before it; "skip" counts and lists them.
            on_progress: Called after each block with the counts so far.

        Raises:
            DataFileError: A record cannot be used and `on_error` is "raise".
            InvalidTextError: The states of one passage are more than a store can keep.
            NonFiniteScoreError: The model overflowed.
            StoreWriteError: The store cannot be written.
        """
        if on_error not in ("raise", "skip"):
            raise InvalidOptionError(f"on_error must be 'raise' or 'skip'; got {on_error!r}.")
        start = time.perf_counter()
        report = AddReport()
        for block in self._blocks(records, on_error, report):
            began = time.perf_counter()
            self._adapt(self._add_block(block, report), time.perf_counter() - began)
            report.seconds = time.perf_counter() - start
            on_progress(report)
        report.seconds = time.perf_counter() - start
        return report

    def _blocks(
        self, records: Iterable[Record], on_error: OnError, report: AddReport
    ) -> Iterator[list[Passage]]:
        """Yields passages to commit together; an error comes after what stood before it."""
        block: list[Passage] = []
        text_bytes = 0
        try:
            for record in records:
                if isinstance(record, SourceProblem):
                    report.note_problem(record)
                    if on_error == "raise":
                        raise record.error
                    continue
                block.append(record)
                text_bytes += len(record.text)
                if len(block) >= self._block or text_bytes >= self._largest_text:
                    yield block
                    block, text_bytes = [], 0
        except DataFileError:
            yield block
            raise
        yield block

    def _adapt(self, num_encoded: int, seconds: float) -> None:
        """Sets the block's size by what encoding takes; skipping takes nothing and says nothing."""
        if num_encoded:
            fitting = int(num_encoded * _BLOCK_S / max(seconds, 1e-3))
            self._block = max(1, min(fitting, 2 * self._block, self._largest_block))

    def _add_block(self, block: list[Passage], report: AddReport) -> int:
        """Adds a block and returns how many of its passages were encoded."""
        if not block:
            return 0
        start = time.perf_counter()
        known = self._store.known(list(dict.fromkeys(passage.id for passage in block)))
        pending = _classified(block, known, report)
        to_encode: list[_Pending] = []
        updates: list[tuple[int, str | None]] = []
        for item in pending:
            old = known.get(item.passage.id)
            if old is None or old.text_hash != item.hashed:
                to_encode.append(item)
            elif old.metadata != item.metadata:
                updates.append((old.key, item.metadata))
        report.store_s += time.perf_counter() - start
        encoded = self._encoded(to_encode, report)
        start = time.perf_counter()
        if encoded:
            self._store.put_many(encoded)
        if updates:
            self._store.set_metadata(updates)
        report.store_s += time.perf_counter() - start
        return len(encoded)

    def _encoded(self, items: list[_Pending], report: AddReport) -> list[EncodedPassage]:
        if not items:
            return []
        header = self._store.header
        texts = [item.passage.text for item in items]
        start = time.perf_counter()
        states = self._reranker.encode(
            texts, compression_ratio=header.compression_ratio, show_progress=False
        )
        vectors = None if self._dense is None else self._dense.encode_passages(texts)
        report.encode_s += time.perf_counter() - start
        report.truncated += sum(states.truncated)
        window = header.provenance.window
        if window is not None:
            split = [num_windows(count, window) for count in states.token_counts if count > window]
            report.split += len(split)
            report.windows += sum(split)
        report.num_tokens += sum(states.token_counts)
        start = time.perf_counter()
        check_finite_slots(states.slots)
        rows = self._codec.encode(states.slots).numpy()  # [N, bytes of a slot]
        position, encoded = 0, []
        for index, item in enumerate(items):
            end = position + states.slot_counts[index]
            if (end - position) * rows.shape[1] > _MOST_STATES_BYTES:
                raise InvalidTextError(
                    f"The states of passage {shown(item.passage.id)} take "
                    f"{(end - position) * rows.shape[1]:,} bytes ({states.token_counts[index]:,} "
                    f"tokens); an index keeps at most {_MOST_STATES_BYTES:,} of a passage.",
                    hint="Split the text into several passages, or choose a larger "
                    "compression_ratio or a smaller codec for the index.",
                )
            encoded.append(
                EncodedPassage(
                    id=item.passage.id,
                    text=item.passage.text if header.keep_text else None,
                    metadata=item.metadata,
                    text_hash=item.hashed,
                    token_count=states.token_counts[index],
                    truncated=states.truncated[index],
                    slots=rows[position:end].tobytes(),
                    vector=None if vectors is None else vectors[index].astype("<f4").tobytes(),
                )
            )
            position = end
        report.store_s += time.perf_counter() - start
        return encoded


def _classified(
    block: list[Passage], known: dict[str, KnownPassage], report: AddReport
) -> list[_Pending]:
    """Returns the last passage under each id; counts every one as if it had been added alone."""
    last: dict[str, _Pending] = {}
    for passage in block:
        metadata = metadata_json(passage.metadata, f"passage {passage.id!r}")
        item = _Pending(passage, text_hash(passage.text), metadata)
        earlier = last.get(passage.id)
        old = known.get(passage.id)
        if earlier is not None:
            before: tuple[bytes, str | None] | None = (earlier.hashed, earlier.metadata)
        else:
            before = None if old is None else (old.text_hash, old.metadata)
        if before is None:
            report.added += 1
        elif before[0] != item.hashed:
            report.replaced += 1
        elif before[1] != item.metadata:
            report.metadata_updated += 1
        else:
            report.unchanged += 1
        last[passage.id] = item
    return list(last.values())
