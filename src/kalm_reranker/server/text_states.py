"""States of documents that came as text, kept by the hash of the text: none is encoded twice.

Texts of some length have an identity, by which the prefix cache finds them when they come again. Of
short ones filling that cache would take half as long again as encoding and scoring them, for texts
that mostly come once. It is decided by the length alone, so that the same request takes the same
path, and gets the same bits, the first time and later.

A document that two requests send at the same time is encoded for one of them; the other waits.
"""

import hashlib
import threading
from collections.abc import Mapping, Sequence
from concurrent.futures import Future, wait

import torch

from kalm_reranker.batching.flow import current_flow
from kalm_reranker.encoding.states import PassageStates
from kalm_reranker.engine.pipeline import TokenizedPassage
from kalm_reranker.errors import InvalidTextError
from kalm_reranker.model.pooling import check_ratio
from kalm_reranker.reranker import KaLMReranker
from kalm_reranker.store.hot_tier import HotTier, HotTierStats

_HASH_BYTES = 16
# What an item takes besides its slots, measured: 2.3 kB for the shortest texts.
_ITEM_BYTES = 2_400
_LOOK_S = 0.1  # how often a request that waits for another looks whether it is itself still wanted

# Of a passage, so that filling the prefix cache takes a small part of what encoding it does.
_FEWEST_TOKENS = 128

# Whoever sends one of a large request's texts waits for so many of them, not for all.
_CLAIMED_TOGETHER = 32

_Kind = tuple[int, int | None]  # ratio, and the tokens that documents are cut at


class TextTooLongError(InvalidTextError):
    """A text would have to be cut, and may not be.

    Args:
        text: The text.
        max_tokens: What it would be cut at, in tokens of its own.
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
        self._keeps_prefixes = budget_bytes > 0 and not reranker.options.deterministic
        self._kept = HotTier(budget_bytes, item_bytes=_ITEM_BYTES)
        self._lock = threading.Lock()  # guards all below
        self._under_way: dict[tuple[_Kind, int], Future[PassageStates | None]] = {}
        self._num_awaited = 0

    @property
    def num_reused(self) -> int:
        """How many texts were not encoded, since they were there or another request did it."""
        with self._lock:
            return self._kept.stats().hits + self._num_awaited

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
        text_of = dict(zip(keys, texts, strict=True))
        found: dict[int, PassageStates] = {}
        # What may not be cut is looked at as a whole before anything is encoded.
        together = _CLAIMED_TOGETHER if truncate else max(1, len(text_of))
        for start in range(0, len(keys), together):
            part = {key: text_of[key] for key in keys[start : start + together]}
            found |= self._found_or_encoded(kind, part, truncate)
        if not truncate:  # what others encoded may be cut
            self._refuse_cut(kind, text_of, _cut(found))
        return [found[key].repool(ratio) for key in keys]

    def _found_or_encoded(
        self, kind: _Kind, texts: Mapping[int, str], truncate: bool
    ) -> dict[int, PassageStates]:
        found: dict[int, PassageStates] = {}
        while len(found) < len(texts):
            wanted = {key: text for key, text in texts.items() if key not in found}
            kept, ours, others = self._claim(kind, wanted, truncate)
            found |= kept
            found |= self._encoded(kind, {key: texts[key] for key in ours}, truncate)
            for key, future in others.items():
                states = _awaited(future)
                if states is not None:  # else it is encoded here, or fails here as well
                    found[key] = states
                    with self._lock:
                        self._num_awaited += 1
        return found

    def _claim(
        self, kind: _Kind, wanted: Mapping[int, str], truncate: bool
    ) -> tuple[dict[int, PassageStates], list[int], dict[int, Future[PassageStates | None]]]:
        """Returns what is there, what the caller is to encode, and what others are encoding."""
        ours: list[int] = []
        others: dict[int, Future[PassageStates | None]] = {}
        # One lock for both looks: what is under way must not end between them, unseen by either.
        with self._lock:
            kept: dict[int, PassageStates] = self._kept.get_many(kind, wanted)
            if not truncate:
                self._refuse_cut(kind, wanted, _cut(kept))
            for key in wanted:
                if key in kept:
                    continue
                future = self._under_way.get((kind, key))
                if future is None:
                    self._under_way[kind, key] = Future()
                    ours.append(key)
                else:
                    others[key] = future
        return kept, ours, others

    def _encoded(
        self,
        kind: _Kind,
        texts: dict[int, str],
        truncate: bool,
    ) -> dict[int, PassageStates]:
        """Encodes what was claimed, and tells those who wait for it, whatever happens.

        Args:
            kind: Of all texts.
            texts: What was claimed.
            truncate: As of `states`.
        """
        if not texts:
            return {}
        try:
            ratio, max_tokens = kind
            tokenized = self._pipeline.tokenize(list(texts.values()), max_tokens)
            if not truncate:
                cut = dict(zip(texts, (passage.truncated for passage in tokenized), strict=True))
                self._refuse_cut(kind, texts, cut)
            states = self._pipeline.encode_tokenized(
                tokenized,
                ratio,
                self._reranker.provenance,
                store_on=torch.device("cpu"),
                identities=[
                    ("text", kind, key) if self._is_worth_keeping(passage) else None
                    for key, passage in zip(texts, tokenized, strict=True)
                ],
            )
            made = dict(zip(texts, states, strict=True))
        except BaseException:
            self._settle(kind, texts, {})
            raise
        for key, one in made.items():
            self._kept.put(kind, key, one, one.num_bytes)
        self._settle(kind, texts, made)
        return made

    def _is_worth_keeping(self, passage: TokenizedPassage) -> bool:
        """Returns whether the prefix cache may keep a passage.

        With `deterministic`, bits are those of a reranker without it, whose texts have no identity.
        """
        return self._keeps_prefixes and passage.num_tokens >= _FEWEST_TOKENS

    def _refuse_cut(self, kind: _Kind, texts: Mapping[int, str], cut: Mapping[int, bool]) -> None:
        """Refuses texts of which one is cut.

        Raises:
            TextTooLongError: It names the first of these.
        """
        for key, is_cut in cut.items():
            if is_cut:
                raise TextTooLongError(texts[key], self._longest(kind))

    def _longest(self, kind: _Kind) -> int:
        """Returns at how many tokens of their own texts are cut, where they are."""
        _, max_tokens = kind
        options = self._pipeline.options
        own = options.max_length - len(self._pipeline.tokenizer.document_prefix)
        if options.long_documents == "windows" and max_tokens is not None:
            return max_tokens
        return own if max_tokens is None else min(own, max_tokens)

    def _settle(
        self,
        kind: _Kind,
        texts: Mapping[int, str],
        made: Mapping[int, PassageStates],
    ) -> None:
        """Tells those who wait; without the states, they are on their own."""
        with self._lock:
            futures = {key: self._under_way.pop((kind, key)) for key in texts}
        for key, future in futures.items():
            future.set_result(made.get(key))


def _key(text: str) -> int:
    # 128 bits: two texts with the same hash would be taken for one.
    return int.from_bytes(hashlib.blake2b(text.encode(), digest_size=_HASH_BYTES).digest())


def _cut(states: Mapping[int, PassageStates]) -> dict[int, bool]:
    return {key: one.truncated[0] for key, one in states.items()}


def _awaited(future: "Future[PassageStates | None]") -> PassageStates | None:
    """Returns what another request encodes; None if it failed, whatever the reason.

    Raises:
        ServiceError: The current flow was cancelled or is too late.
    """
    flow = current_flow()
    while not wait((future,), timeout=_LOOK_S).done:
        flow.check()
    return future.result()
