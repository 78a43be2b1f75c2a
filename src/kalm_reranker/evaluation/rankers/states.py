"""Passage states of a collection's candidates, encoded once and kept, at any ratio and codec."""

import logging
import math
import re
from collections.abc import Callable, Hashable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from kalm_reranker.errors import DamagedStoreError
from kalm_reranker.progress import progress_bar

if TYPE_CHECKING:  # importing these costs torch
    from kalm_reranker.encoding.states import PassageStates
    from kalm_reranker.index.report import AddReport
    from kalm_reranker.reranker import KaLMReranker

logger = logging.getLogger(__name__)

# Stored states and those pooled from them that stay in memory; the rest is read again.
_HOT_BYTES = 2 * 2**30
# States of one query's candidates in memory at once, besides those: some 2,000 passages of pico.
_BLOCK_BYTES = 256 * 2**20
_BASE_FOLDER = re.compile(r"r(\d+)")


class CandidateStates:
    """The states of some passages in a store of their own, of which every ranker reads.

    They are stored without loss at a base ratio that divides all ratios wanted. Lossy codecs are
    applied to what is read, after pooling, as an index made at that ratio with that codec would
    hold it; so one pass of the encoder serves every ratio and codec.

    Args:
        folder: Where stores are kept, one for each base ratio; made if missing.
        reranker: The model.
        passages: Passage id -> text; those that the store has already are not encoded again.
        ratios: Compression ratios that will be read.
        on_progress: Called with the counts so far while passages are encoded.

    Raises:
        StoreError: The store cannot be written or read.
        StatesMismatchError: The folder holds states of another model or other settings.
    """

    def __init__(
        self,
        folder: Path,
        reranker: "KaLMReranker",
        passages: Mapping[str, str],
        ratios: Sequence[int],
        *,
        on_progress: "Callable[[AddReport], None] | None" = None,
    ) -> None:
        from kalm_reranker.index.passage_index import PassageIndex
        from kalm_reranker.store.codecs import default_codec
        from kalm_reranker.store.hot_tier import HotTier
        from kalm_reranker.store.sqlite_store import SQLiteStore
        from kalm_reranker.store.states_reader import StatesReader

        self.base_ratio = base_ratio(folder, ratios)
        self.codec = default_codec(reranker.dtype)
        location = folder / f"r{self.base_ratio}"
        with PassageIndex.create(
            location,
            reranker,
            compression_ratio=self.base_ratio,
            keep_text=False,
            exist_ok=True,
        ) as index:
            self.report = index.add(passages.items(), show_progress=False, on_progress=on_progress)
        self._store: SQLiteStore = SQLiteStore.open(location)
        self._keys = self._store.keys_of(list(passages))
        self._reader: StatesReader = StatesReader(self._store, HotTier(_HOT_BYTES), reranker.dtype)

    def blocks(self, passage_ids: Sequence[str], ratio: int) -> Iterator[Sequence[str]]:
        """Yields passages whose states fit into memory together, in order."""
        ids = {self._keys[passage_id]: passage_id for passage_id in passage_ids}
        for keys in self._reader.blocks(list(ids), _BLOCK_BYTES, ratio):
            yield [ids[key] for key in keys]

    def read(
        self, passage_ids: Sequence[str], ratio: int, codec: str | None = None
    ) -> "PassageStates":
        """Returns the states of distinct passages, in order.

        Args:
            passage_ids: Some of those that were given.
            ratio: A multiple of the base ratio.
            codec: As if they were stored in it at this ratio; the lossless one, if None.

        Raises:
            DamagedStoreError: States are not what was written, or are gone.
        """
        keys = [self._keys[passage_id] for passage_id in passage_ids]
        read = self._reader.read(keys, ratio)
        if len(read.keys) != len(keys):
            raise DamagedStoreError(
                f"{len(keys) - len(read.keys)} of {len(keys)} states in {self._store.path} are "
                "damaged or gone.",
                hint="Delete that folder: the passages are then encoded again.",
            )
        return read.states if codec in (None, self.codec) else _through(read.states, str(codec))

    def bytes_per_passage(self, ratio: int, codec: str | None = None) -> float:
        """Returns the mean bytes of a passage's states at a ratio in a codec."""
        from kalm_reranker.model.pooling import num_slots
        from kalm_reranker.store.codecs import codec_named

        slot_bytes = codec_named(codec or self.codec).slot_bytes(self._store.header.width)
        counts = self.token_counts()
        return slot_bytes * sum(num_slots(count, ratio) for count in counts) / len(counts)

    def token_counts(self) -> list[int]:
        """Returns the tokens of each passage."""
        return self._store.token_counts(list(self._keys.values()))

    def close(self) -> None:
        """Closes the store."""
        self._store.close()


@contextmanager
def encoding_bar(
    total: int, *, label: str, show: bool | None
) -> "Iterator[Callable[[AddReport], None]]":
    """Yields what `CandidateStates` calls while it encodes; a progress bar of passages.

    Args:
        total: Passages, those that are encoded already among them.
        label: What is being done.
        show: See `progress_bar`.
    """
    with progress_bar(total, label=label, unit="passages", show=show) as advance:
        done = 0

        def tell(report: "AddReport") -> None:
            nonlocal done
            advance(report.num_passages - done)
            done = report.num_passages

        yield tell


def base_ratio(folder: Path, ratios: Sequence[int]) -> int:
    """Returns the ratio to store states at: one that is there and serves, else the largest one.

    Of several that are there the coarsest is read fastest.
    """
    wanted = math.gcd(*ratios)
    found = [
        int(match.group(1))
        for entry in (folder.iterdir() if folder.is_dir() else ())
        if (match := _BASE_FOLDER.fullmatch(entry.name))
    ]
    serving = [base for base in found if base and wanted % base == 0]
    if found and not serving:
        logger.warning(
            "%s holds states at ratio %s, from which ratio %d cannot be had: passages are encoded "
            "again",
            folder,
            " and ".join(map(str, sorted(found))),
            wanted,
        )
    return max(serving, default=wanted)


def _through(states: "PassageStates", codec: str) -> "PassageStates":
    """Returns states as they come back out of a codec."""
    from kalm_reranker.encoding.states import PassageStates
    from kalm_reranker.store.codecs import codec_named

    chosen = codec_named(codec)
    rows = chosen.encode(states.slots)
    identities: list[Hashable] | None = None
    if states.identities is not None:  # other numbers need other names
        identities = [(identity, codec) for identity in states.identities]
    return PassageStates(
        chosen.decode(rows, states.slots.shape[1], states.slots.dtype),
        states.token_counts,
        states.truncated,
        states.compression_ratio,
        states.provenance,
        identities,
    )
