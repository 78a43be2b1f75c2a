"""Counts of what a reranker did, so that nothing it cuts or skips goes unseen."""

import threading
from dataclasses import dataclass, field


@dataclass(kw_only=True)
class RerankerStats:
    """Running totals since the reranker was made. Safe to add to from several threads.

    Args:
        queries: Prompts built.
        queries_truncated: Queries cut at `query_max_length`.
        passages_encoded: Passages that went through the encoder.
        passages_truncated: Of these, cut at `max_length`.
        passages_split: Of these, longer than `max_length` and encoded as several windows.
        windows_encoded: The windows of those.
        passages_reused: Passages that occurred again in the same call and were not encoded again.
        pairs_scored: (query, passage) pairs that went through the decoder.
        compiled_in_requests: Times that engine "compiled" compiled without `warm_up`.
        batches_split: Batches that did not fit into memory and were made smaller.
        prefix_mismatches: Prompts that do not begin with the tokens of their instruction alone,
            and were scored without the prefix cache.
        pairs_outside_calibration: Pairs scored at another compression ratio or instruction than
            the calibration was fitted at.
    """

    queries: int = 0
    queries_truncated: int = 0
    passages_encoded: int = 0
    passages_truncated: int = 0
    passages_split: int = 0
    windows_encoded: int = 0
    passages_reused: int = 0
    pairs_scored: int = 0
    compiled_in_requests: int = 0
    batches_split: int = 0
    prefix_mismatches: int = 0
    pairs_outside_calibration: int = 0
    _lock: threading.Lock = field(default_factory=threading.Lock, repr=False, compare=False)

    def add(self, **counts: int) -> None:
        """Adds to the named totals."""
        with self._lock:
            for name, count in counts.items():
                setattr(self, name, getattr(self, name) + count)

    def as_dict(self) -> dict[str, int]:
        """Returns the totals by name."""
        with self._lock:
            return {
                name: getattr(self, name) for name in self.__dataclass_fields__ if name[0] != "_"
            }
