"""A call's queries and documents to scores: what is stored is read, the rest is encoded once."""

from collections.abc import Iterator, Sequence

from kalm_reranker.encoding.states import PassageStates
from kalm_reranker.encoding.texts import check_query, check_text
from kalm_reranker.engine.prompt import Prompt
from kalm_reranker.errors import NoIndexError, UnknownPassageError
from kalm_reranker.index.passage_index import PassageIndex
from kalm_reranker.model.pooling import check_ratio
from kalm_reranker.options import UNSET, RatioOption
from kalm_reranker.reranker import KaLMReranker
from kalm_reranker.server.calls import PairResult, ScoreCall, ScoreResult
from kalm_reranker.server.request_errors import InvalidRequestError
from kalm_reranker.server.states_budget import StatesBudget
from kalm_reranker.server.text_states import TextStates, TextTooLongError
from kalm_reranker.server.unknown_ids import unknown_passages

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
        margins = [0.0] * len(call.pairs)
        truncated: list[int] = []
        num_tokens = 0
        pairs_of: dict[int, list[int]] = {}  # document -> places of its pairs
        for place, (_, document) in enumerate(call.pairs):
            pairs_of.setdefault(document, []).append(place)
        for block in self._blocks(list(pairs_of), ratio):
            size = len(block) * self._pipeline.states_bytes(
                self._reranker.options.max_length, ratio
            )
            with self._budget.lend(size):
                states, rows = self._states(call, block, ratio)
                places = [place for document in block for place in pairs_of[document]]
                pairs = [(call.pairs[place][0], rows[call.pairs[place][1]]) for place in places]
                scored = self._pipeline.score_states(prompts, states, pairs, False)
            for place, (query, row), margin in zip(places, pairs, scored, strict=True):
                margins[place] = margin
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
        return check_ratio(wanted)

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

    def _blocks(self, documents: Sequence[int], ratio: int) -> Iterator[Sequence[int]]:
        """Yields documents that are scored together: their states fit into memory."""
        largest = self._pipeline.states_bytes(self._reranker.options.max_length, ratio)
        most = max(_FEWEST, _BLOCK_BYTES // largest)
        for start in range(0, len(documents), most):
            yield documents[start : start + most]

    def _states(
        self, call: ScoreCall, block: Sequence[int], ratio: int
    ) -> tuple[PassageStates, dict[int, int]]:
        """Returns the states of documents, and the row of each; equal ones share a row."""
        texts: dict[str, list[int]] = {}
        ids: dict[str, list[int]] = {}
        for document in block:
            given = call.documents[document]
            if given.id is not None and given.text is None:
                ids.setdefault(given.id, []).append(document)
            else:
                text = check_text(given.text, f"documents[{document}]")
                texts.setdefault(text, []).append(document)
        parts: list[PassageStates] = []
        if ids:
            parts.append(self._read(list(ids), ratio))
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
            prefix = len(self._pipeline.tokenizer.document_prefix)
            raise InvalidRequestError(
                f"documents[{document}] has more than {error.max_tokens - prefix} tokens, and "
                "truncation is off.",
                hint="Shorten it, or allow truncation.",
                param=f"documents.{document}",
                code="too_long",
            ) from None

    def _read(self, ids: Sequence[str], ratio: int) -> PassageStates:
        index = self._index
        if index is None:
            raise NoIndexError(
                "Documents are named by id, but this server has no index.",
                hint="Start it with --index FOLDER, or send documents as text.",
            )
        try:
            return index.states(ids, compression_ratio=ratio)
        except UnknownPassageError:
            raise unknown_passages(index, ids) from None

    def _stored_texts(self, call: ScoreCall) -> dict[int, str | None]:
        stored = [
            (place, document.id)
            for place, document in enumerate(call.documents)
            if document.id is not None and document.text is None
        ]
        if not call.return_text or not stored or self._index is None:
            return {}
        keeps_text = self._index.header.keep_text
        try:
            passages = self._index.get_many([name for _, name in stored])
        except UnknownPassageError:  # deleted since it was scored
            raise unknown_passages(self._index, [name for _, name in stored]) from None
        return {
            place: passage.text if keeps_text else None
            for (place, _), passage in zip(stored, passages, strict=True)
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
