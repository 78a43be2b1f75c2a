"""Passages made up by the thousand: texts with Zipf's distribution of words, and random states."""

import secrets
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime
from itertools import product

import numpy as np
import torch

from kalm_reranker.encoding.provenance import Provenance
from kalm_reranker.store.checksums import text_hash
from kalm_reranker.store.codecs import codec_named
from kalm_reranker.store.header import StoreHeader
from kalm_reranker.store.records import EncodedPassage

_SYLLABLES = [a + b for a, b in product("bdfgklmnprstvz", "aeiou")]


class ZipfTexts:
    """Draws texts whose words are as frequent as those of a language: the n-th as 1 / n.

    Args:
        seed: Of the draws; the vocabulary is always the same.
        vocabulary: Different words.
    """

    def __init__(self, seed: int, vocabulary: int = 50_000) -> None:
        self._rng = np.random.default_rng(seed)
        words = ("".join(parts) for parts in product(_SYLLABLES, repeat=3))
        self._words = np.array([next(words) for _ in range(vocabulary)])
        np.random.default_rng(0).shuffle(self._words)
        shares = 1 / np.arange(1, vocabulary + 1)
        self._cumulative = np.cumsum(shares / shares.sum())

    def draw(self, count: int, words: int) -> list[str]:
        """Returns texts of `words` words each."""
        ranks = np.searchsorted(self._cumulative, self._rng.random((count, words)))
        ranks = np.minimum(ranks, len(self._words) - 1)  # sums of shares end just below 1
        return [" ".join(row) for row in self._words[ranks]]

    def queries(self, count: int) -> list[str]:
        """Returns queries: five words as texts have them, so that common and rare ones come."""
        return self.draw(count, 5)


def header_for(*, width: int, ratio: int, codec: str) -> StoreHeader:
    """Returns the header of a store without a model behind it."""
    return StoreHeader(
        store_id=secrets.token_hex(16),
        model="synthetic",
        revision=None,
        provenance=Provenance(
            model_fingerprint="0" * 32, template_version=1, max_length=512, dtype="bfloat16"
        ),
        compression_ratio=ratio,
        codec=codec,
        width=width,
        keep_text=True,
        language="other",
        dense=None,
        created_at=datetime.now(UTC).isoformat(timespec="seconds"),
        created_by="benchmarks",
    )


def encoded_passages(
    ids: Sequence[str], texts: Sequence[str], *, slots: int, header: StoreHeader, seed: int
) -> list[EncodedPassage]:
    """Returns passages with random states of `slots` slots each."""
    generator = torch.Generator().manual_seed(seed)
    values = torch.randn(len(ids) * slots, header.width, generator=generator)
    rows = codec_named(header.codec).encode(values).numpy()
    return [
        EncodedPassage(
            id=name,
            text=text,
            metadata=None,
            text_hash=text_hash(text),
            token_count=slots * header.compression_ratio,
            truncated=False,
            slots=rows[index * slots : (index + 1) * slots].tobytes(),
        )
        for index, (name, text) in enumerate(zip(ids, texts, strict=True))
    ]


def blocks(count: int, size: int) -> Iterator[range]:
    """Yields the numbers below `count` in ranges of `size`."""
    for start in range(0, count, size):
        yield range(start, min(start + size, count))
