"""States of documents that came as text, kept by the hash of the text: none is encoded twice.

A document that two requests send at the same time is encoded for one of them; the other waits.
"""

import hashlib
import threading
from collections.abc import Sequence
from concurrent.futures import Future

import torch

from kalm_reranker.batching.flow import current_flow
from kalm_reranker.encoding.states import PassageStates
from kalm_reranker.engine.pipeline import TokenizedPassage
from kalm_reranker.errors import InvalidTextError
from kalm_reranker.model.pooling import check_ratio
from kalm_reranker.reranker import KaLMReranker
from kalm_reranker.store.hot_tier import HotTier, HotTierStats

_HASH_BYTES = 16
_LOOK_S = 0.1  # how often a request that waits for another looks whether it is itself still wanted

_Kind = tuple[int, int | None]  # ratio, and the tokens that documents are cut at


class TextTooLongError(InvalidTextError):
    """A text would have to be cut, and may not be.

    Args:
        text: The text.
        max_tokens: What it would be cut at, the template's prefix included.
    """

    def __init__(self, text: str, max_tokens: int) -> None:
        super().__init__(f"a document has more than {max_tokens} tokens")
        self.text = text
        self.max_tokens = max_tokens


class TextStates:
    """Encodes texts, or finds what it encoded before. Safe to use from several threads.

    Args:
        reranker: Encodes.
        budget_bytes: Most bytes of states to keep; 0 keeps none.
    """

    def __init__(self, reranker: KaLMReranker, budget_bytes: int) -> None:
        self._reranker = reranker
        self._pipeline = reranker.pipeline
        self._budget = budget_bytes
        self._kept = HotTier(budget_bytes)
        self._lock = threading.Lock()
        self._under_way: dict[tuple[_Kind, int], Future[PassageStates]] = {}

    def stats(self) -> HotTierStats:
        """Returns what is kept and what it brought."""
        return self._kept.stats()

    def states(
        self,
        texts: Sequence[str],
        ratio: int,
        *,
        max_tokens: int | None = None,
        truncate: bool = True,
    ) -> list[PassageStates]:
        """Returns the states of each text.

        Args:
            texts: Distinct texts.
            ratio: Tokens per state. A multiple of the reranker's own is pooled from that, so that
                requests with several ratios share what is kept.
            max_tokens: Cut texts at so many tokens of their own, if that is less than the limit.
            truncate: If False, a text that would be cut is an error, and nothing is encoded.

        Raises:
            TextTooLongError: A text is too long, and may not be cut.
            ServiceError: The current flow was cancelled or is too late.
        """
        base = self._reranker.compression_ratio
        stored_ratio = base if ratio % base == 0 else check_ratio(ratio)
        kind: _Kind = (stored_ratio, max_tokens)
        keys = [_key(text) for text in texts]
        found: dict[int, PassageStates] = {}
        while True:
            wanted = {key: text for key, text in zip(keys, texts, strict=True) if key not in found}
            found |= self._kept.get_many(kind, wanted)
            missing = {key: text for key, text in wanted.items() if key not in found}
            ours, others = self._claim(kind, missing)
            found |= self._encoded(kind, {key: missing[key] for key in ours}, truncate)
            for key, future in others.items():
                states = _awaited(future)
                if states is not None:  # else it is encoded here, or fails here as well
                    found[key] = states
            if len(found) == len(keys):
                break
        if not truncate:
            for key, text in zip(keys, texts, strict=True):
                if found[key].truncated[0]:
                    raise TextTooLongError(text, found[key].token_counts[0])
        return [found[key].repool(ratio) for key in keys]

    def _claim(
        self, kind: _Kind, missing: dict[int, str]
    ) -> tuple[list[int], dict[int, Future[PassageStates]]]:
        """Returns what the caller is to encode, and what others are encoding."""
        ours: list[int] = []
        others: dict[int, Future[PassageStates]] = {}
        with self._lock:
            for key in missing:
                future = self._under_way.get((kind, key))
                if future is None:
                    self._under_way[kind, key] = Future()
                    ours.append(key)
                else:
                    others[key] = future
        return ours, others

    def _encoded(
        self, kind: _Kind, texts: dict[int, str], truncate: bool
    ) -> dict[int, PassageStates]:
        """Encodes what was claimed, and tells those who wait for it, whatever happens."""
        if not texts:
            return {}
        try:
            ratio, max_tokens = kind
            tokenized = self._pipeline.tokenize(list(texts.values()), max_tokens)
            if not truncate:
                _refuse_cut(list(texts.values()), tokenized)
            states = self._pipeline.encode_tokenized(
                tokenized,
                ratio,
                self._reranker.provenance,
                store_on=torch.device("cpu"),
                # With an identity, a text that comes again finds its keys and values as well.
                identities=[("text", kind, key) for key in texts] if self._budget else None,
            )
            made = dict(zip(texts, states, strict=True))
        except BaseException as error:
            self._settle(kind, texts, error)
            raise
        for key, one in made.items():
            self._kept.put(kind, key, one, one.num_bytes)
        self._settle(kind, texts, made)
        return made

    def _settle(
        self,
        kind: _Kind,
        texts: dict[int, str],
        outcome: dict[int, PassageStates] | BaseException,
    ) -> None:
        with self._lock:
            futures = {key: self._under_way.pop((kind, key)) for key in texts}
        for key, future in futures.items():
            if isinstance(outcome, BaseException):
                future.set_exception(outcome)
            else:
                future.set_result(outcome[key])


def _key(text: str) -> int:
    # 128 bits: two texts with the same hash would be taken for one.
    return int.from_bytes(hashlib.blake2b(text.encode(), digest_size=_HASH_BYTES).digest())


def _refuse_cut(texts: Sequence[str], tokenized: Sequence[TokenizedPassage]) -> None:
    for text, passage in zip(texts, tokenized, strict=True):
        if passage.truncated:
            raise TextTooLongError(text, passage.num_tokens)


def _awaited(future: "Future[PassageStates]") -> PassageStates | None:
    """Returns what another request encodes; None if it failed, whatever the reason.

    Raises:
        ServiceError: The current flow was cancelled or is too late.
    """
    flow = current_flow()
    while True:
        try:
            return future.result(timeout=_LOOK_S)
        except Exception:  # a TimeoutError can be ours or the other request's
            flow.check()
            if future.done():
                return None
