"""A call's queries and documents to scores: what is stored is read, the rest is encoded once."""

from collections.abc import Callable, Iterator, Sequence
from typing import TypeVar

from kalm_reranker.batching.flow import current_flow
from kalm_reranker.encoding.states import PassageStates
from kalm_reranker.encoding.texts import check_query, check_text
from kalm_reranker.encoding.windows import check_window_ratio, num_windows
from kalm_reranker.engine.prompt import Prompt
from kalm_reranker.errors import NoIndexError
from kalm_reranker.index.passage_index import PassageIndex
from kalm_reranker.model.pooling import check_ratio
from kalm_reranker.options import UNSET, RatioOption
from kalm_reranker.reranker import KaLMReranker
from kalm_reranker.server.calls import PairResult, ScoreCall, ScoreResult
from kalm_reranker.server.request_errors import InvalidRequestError
from kalm_reranker.server.states_budget import StatesBudget
from kalm_reranker.server.text_states import TextStates, TextTooLongError
from kalm_reranker.server.unknown_ids import naming_unknown

_T = TypeVar("_T")

# Of the states of one request that are in memory together: 1,000 passages of pico, 25 of Large.
_BLOCK_BYTES = 64 * 2**20
_FEWEST = 16  # documents of a block


class Scorer:
    """Scores calls. Safe to use from several threads.

    Args:
        reranker: The model.
        texts: States of documents that come as text.
        budget: Bytes of states for all calls together.
        index: Where documents are that come as ids; None if there is none.
    """

    def __init__(
        self,
        reranker: KaLMReranker,
        texts: TextStates,
        budget: StatesBudget,
        index: PassageIndex | None,
    ) -> None:
        self._reranker = reranker
        self._pipeline = reranker.pipeline
        self._texts = texts
        self._budget = budget
        self._index = index

    def score(self, call: ScoreCall) -> ScoreResult:
        """Scores pairs; see `Answering.score`."""
        ratio = self._ratio(call.compression_ratio)
        instruction = (
            self._reranker.default_instruction
            if call.instruction is None
            else check_text(call.instruction, "instruction")
        )
        prompts = self._prompts(call, instruction)
        flow = current_flow()
        margins = [0.0] * len(call.pairs)
        truncated: list[int] = []
        num_tokens = 0
        pairs_of: dict[int, list[int]] = {}  # document -> places of its pairs
        for place, (_, document) in enumerate(call.pairs):
            pairs_of.setdefault(document, []).append(place)
        for block, num_bytes in self._blocks(call, list(pairs_of), ratio):
            with self._budget.lend(num_bytes):
                flow.continues = True  # with the pairs, as soon as there are states
                states, rows = self._states(call, block, ratio)
                flow.continues = False
                places = [place for document in block for place in pairs_of[document]]
                pairs = [(call.pairs[place][0], rows[call.pairs[place][1]]) for place in places]
                # Each once: in another batch the same pair may differ in its last digits, and
                # equal documents would change places.
                distinct = list(dict.fromkeys(pairs))
                scored = self._pipeline.score_states(prompts, states, distinct, False)
            margin_of = dict(zip(distinct, scored, strict=True))
            for place, (query, row) in zip(places, pairs, strict=True):
                margins[place] = margin_of[query, row]
                num_tokens += len(prompts[query].ids) + states.token_counts[row]
            truncated += [document for document in block if states.truncated[rows[document]]]
        return ScoreResult(
            pairs=tuple(self._result(margin) for margin in margins),
            texts=self._stored_texts(call),
            truncated=tuple(sorted(truncated)),
            queries_truncated=tuple(i for i, prompt in enumerate(prompts) if prompt.truncated),
            total_tokens=num_tokens,
            compression_ratio=ratio,
            warnings=tuple(self._calibration_notes(ratio, instruction, len(margins))),
        )

    def _ratio(self, wanted: RatioOption) -> int:
        if wanted is UNSET:
            return self._reranker.compression_ratio
        ratio, options = check_ratio(wanted), self._reranker.options
        if options.long_documents == "windows":
            check_window_ratio(ratio, options.max_length)
        return ratio

    def _prompts(self, call: ScoreCall, instruction: str) -> list[Prompt]:
        prompts = []
        for place, query in enumerate(call.queries):
            prompt = self._pipeline.prompt(check_query(query), instruction)
            if prompt.truncated and not call.truncate:
                raise InvalidRequestError(
                    f"query has more than {self._reranker.options.query_max_length} tokens, and "
                    "truncation is off.",
                    hint="Shorten it, or allow truncation.",
                    param="query" if len(call.queries) == 1 else f"queries.{place}",
                    code="too_long",
                )
            prompts.append(prompt)
        return prompts

    def _blocks(
        self, call: ScoreCall, documents: Sequence[int], ratio: int
    ) -> Iterator[tuple[list[int], int]]:
        """Yields documents that are scored together, and the bytes that their states may take.

        A document that is larger than a block is one.
        """
        window_bytes = self._pipeline.states_bytes(self._reranker.options.max_length, ratio)
        most = max(_FEWEST, _BLOCK_BYTES // window_bytes)
        block: list[int] = []
        windows = 0
        for document, count in zip(documents, self._num_windows(call, documents), strict=True):
            if block and windows + count > most:
                yield block, windows * window_bytes
                block, windows = [], 0
            block.append(document)
            windows += count
        if block:
            yield block, windows * window_bytes

    def _num_windows(self, call: ScoreCall, documents: Sequence[int]) -> list[int]:
        """Returns how many windows documents have, or more; 1 where they are cut instead."""
        options = self._reranker.options
        if options.long_documents != "windows":
            return [1] * len(documents)
        given = [call.documents[document] for document in documents]
        ids = [one.stored_id for one in given if one.stored_id is not None]
        stored = self._stored(lambda index: index.token_counts(ids), ids) if ids else []
        num_tokens = dict(zip(ids, stored, strict=True))
        counts = []
        for one in given:
            if one.text is None:
                counts.append(num_windows(max(1, num_tokens[one.id or ""]), options.max_length))
                continue
            # Without tokenizing; a token rarely has less than a character.
            longest = len(one.text)
            if call.max_document_tokens is not None:
                longest = min(longest, call.max_document_tokens)
            counts.append(1 + longest // options.max_length)
        return counts

    def _states(
        self, call: ScoreCall, block: Sequence[int], ratio: int
    ) -> tuple[PassageStates, dict[int, int]]:
        """Returns the states of documents, and the row of each; equal ones share a row."""
        texts: dict[str, list[int]] = {}
        ids: dict[str, list[int]] = {}
        for document in block:
            given = call.documents[document]
            if given.stored_id is not None:
                ids.setdefault(given.stored_id, []).append(document)
            else:
                text = check_text(given.text, f"documents[{document}]")
                texts.setdefault(text, []).append(document)
        parts: list[PassageStates] = []
        if ids:
            names = list(ids)
            parts.append(
                self._stored(lambda index: index.states(names, compression_ratio=ratio), names)
            )
        if texts:
            parts += self._encoded(call, texts, ratio)
        owners = [*ids.values(), *texts.values()]
        rows = {document: row for row, documents in enumerate(owners) for document in documents}
        return _joined(parts), rows

    def _encoded(
        self, call: ScoreCall, texts: dict[str, list[int]], ratio: int
    ) -> list[PassageStates]:
        try:
            return self._texts.states(
                list(texts),
                ratio,
                max_tokens=call.max_document_tokens,
                truncate=call.truncate,
            )
        except TextTooLongError as error:
            (document, *_) = texts[error.text]
            raise InvalidRequestError(
                f"documents[{document}] has more than {error.max_tokens} tokens, and "
                "truncation is off.",
                hint="Shorten it, or allow truncation.",
                param=f"documents.{document}",
                code="too_long",
            ) from None

    def _stored(self, read: Callable[[PassageIndex], _T], ids: Sequence[str]) -> _T:
        """Returns what is read of stored passages.

        Raises:
            NoIndexError: There is no index.
            UnknownPassageError: An id is not in the index.
        """
        if self._index is None:
            raise NoIndexError(
                "Documents are named by id, but this server has no index.",
                hint="Start it with --index FOLDER, or send documents as text.",
            )
        with naming_unknown(self._index, ids):
            return read(self._index)

    def _stored_texts(self, call: ScoreCall) -> dict[int, str | None]:
        names = {
            place: document.stored_id
            for place, document in enumerate(call.documents)
            if document.stored_id is not None
        }
        if not call.return_text or not names:
            return {}
        ids = list(names.values())
        passages, keeps_text = self._stored(
            lambda index: (index.get_many(ids), index.header.keep_text), ids
        )
        return {
            place: passage.text if keeps_text else None
            for place, passage in zip(names, passages, strict=True)
        }

    def _result(self, margin: float) -> PairResult:
        pair = self._reranker.scored_pair(margin)
        return PairResult(pair.score, pair.raw_score, pair.margin)

    def _calibration_notes(self, ratio: int, instruction: str, num_pairs: int) -> list[str]:
        notes = self._reranker.calibration_notes(ratio, instruction)
        if notes:
            self._reranker.stats.add(pairs_outside_calibration=num_pairs)
        return notes


def _joined(parts: Sequence[PassageStates]) -> PassageStates:
    """Returns states of one ratio as one object, wherever they come from.

    Stored passages may have been read with other settings than texts are (dtype, reading of
    special tokens). Scoring takes them all as they are.
    """
    first = parts[0]
    if len(parts) == 1:
        return first
    alike = [
        PassageStates(
            part.slots.to(first.slots.dtype),
            part.token_counts,
            part.truncated,
            part.compression_ratio,
            first.provenance,
            part.identities,
        )
        for part in parts
    ]
    return PassageStates.concatenate(alike)
