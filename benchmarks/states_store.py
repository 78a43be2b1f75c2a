"""Real stores with given states in a given codec, and what comes back out of them."""

from collections.abc import Mapping, Sequence
from pathlib import Path

from kalm_reranker import KaLMReranker, PassageStates
from kalm_reranker.index.creation import new_header
from kalm_reranker.store.checksums import text_hash
from kalm_reranker.store.codecs import codec_named
from kalm_reranker.store.hot_tier import HotTier
from kalm_reranker.store.records import EncodedPassage
from kalm_reranker.store.sqlite_store import SQLiteStore
from kalm_reranker.store.states_reader import StatesReader

_PASSAGES_AT_ONCE = 256


def store_states(
    folder: Path,
    reranker: KaLMReranker,
    texts: Mapping[str, str],
    states: PassageStates,
    codec: str,
) -> SQLiteStore:
    """Returns a new store with these states, written as adding the texts would write them.

    Args:
        folder: Where to make it.
        reranker: The model of the states.
        texts: Passages by id; passage i has `states[i]`.
        states: At the ratio that becomes the store's.
        codec: How to write them.
    """
    header = new_header(
        reranker,
        compression_ratio=states.compression_ratio,
        codec=codec,
        keep_text=False,  # only states are measured
        language="other",
        dense=None,
    )
    store = SQLiteStore.create(folder, header)
    written = codec_named(codec)
    items = list(texts.items())
    for start in range(0, len(items), _PASSAGES_AT_ONCE):
        block = items[start : start + _PASSAGES_AT_ONCE]
        store.put_many(
            [
                EncodedPassage(
                    id=name,
                    text=None,
                    metadata=None,
                    text_hash=text_hash(text),
                    token_count=states.token_counts[row],
                    truncated=states.truncated[row],
                    slots=written.encode(states.slots_of(row)).numpy().tobytes(),
                )
                for row, (name, text) in enumerate(block, start=start)
            ]
        )
    return store


def read_states(
    store: SQLiteStore, reranker: KaLMReranker, ids: Sequence[str], ratio: int
) -> PassageStates:
    """Returns the states of passages as a search at this ratio reads them, in the ids' order."""
    keys = list(store.keys_of(ids).values())
    read = StatesReader(store, HotTier(0), reranker.dtype).read(keys, ratio)
    if len(read.keys) != len(ids):
        raise SystemExit(f"error: {len(ids) - len(read.keys)} of {len(ids)} states were not read")
    return read.states


def bytes_a_passage(states: PassageStates, codec: str) -> float:
    """Returns the mean bytes of the states of a passage in a codec, at the states' ratio."""
    slot_bytes = codec_named(codec).slot_bytes(states.slots.shape[1])
    return sum(states.slot_counts) * slot_bytes / len(states)
