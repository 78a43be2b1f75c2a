"""A small `Answering` over the bundled model and an index: one request at a time, no batching."""

import asyncio
import threading

from kalm_reranker.errors import InvalidOptionError, NoIndexError
from kalm_reranker.index.passage_index import PassageIndex
from kalm_reranker.options import UNSET
from kalm_reranker.reranker import KaLMReranker
from kalm_reranker.server.answering import ModelFacts
from kalm_reranker.server.calls import AddResult, PairResult, ScoreResult
from kalm_reranker.store.passage import Passage


class PicoService:
    """Scores each query of a call against the states of its documents.

    Args:
        reranker: The model.
        index: Where passages are; None without one.
    """

    def __init__(self, reranker: KaLMReranker, index: PassageIndex | None = None):
        self.reranker = reranker
        self.index = index
        self.lock = threading.Lock()
        self.answered = 0

    async def score(self, call, deadline):
        return await asyncio.to_thread(self._score, call)

    def _score(self, call):
        with self.lock:
            self.answered += 1
            stored = {
                number: self._index().get(document.id).text
                for number, document in enumerate(call.documents)
                if document.text is None
            }
            texts = [stored.get(i, document.text) for i, document in enumerate(call.documents)]
            states = self.reranker.encode(texts, compression_ratio=call.compression_ratio)
            cut = tuple(i for i, was_cut in enumerate(states.truncated) if was_cut)
            if cut and not call.truncate:
                raise InvalidOptionError(f"documents[{cut[0]}] is too long.")
            pairs = []
            for query_number, document_number in call.pairs:
                scored = self.reranker.score(
                    call.queries[query_number],
                    states[[document_number]],
                    call.instruction,
                    return_margin=True,
                )[0]
                pairs.append(PairResult(scored.score, scored.raw_score, scored.margin))
            return ScoreResult(
                pairs=tuple(pairs),
                texts=stored if call.return_text else {},
                truncated=cut,
                queries_truncated=tuple(
                    i for i, query in enumerate(call.queries) if self.reranker.is_query_cut(query)
                ),
                total_tokens=sum(len(text.split()) for text in texts) + len(call.queries),
                compression_ratio=states.compression_ratio,
            )

    async def search(self, call, deadline):
        with self.lock:
            ratio = call.compression_ratio
            return await asyncio.to_thread(
                self._index().search,
                call.query,
                call.top_k,
                candidates=call.candidates,
                instruction=call.instruction,
                first_stage=call.first_stage,
                fuse=call.fuse,
                filter=call.filter,
                **({} if ratio is UNSET else {"compression_ratio": ratio}),
            )

    async def add(self, passages, deadline):
        with self.lock:
            given = [Passage(item.id, item.text, item.metadata) for item in passages]
            report = await asyncio.to_thread(self._index().add, given, show_progress=False)
        return AddResult(
            added=report.added,
            replaced=report.replaced,
            metadata_updated=report.metadata_updated,
            unchanged=report.unchanged,
            truncated=report.truncated,
            notes=tuple(report.notes),
        )

    async def delete(self, ids, *, missing_ok):
        with self.lock:
            return self._index().delete(ids, missing_ok=missing_ok)

    async def get(self, ids):
        with self.lock:
            return self._index().get_many(ids)

    def _index(self):
        if self.index is None:
            raise NoIndexError("this server has no index.")
        return self.index

    def facts(self):
        options = self.reranker.options
        return ModelFacts(
            name="pico",
            fingerprint=self.reranker.provenance.model_fingerprint,
            dtype=str(self.reranker.dtype).removeprefix("torch."),
            device=str(self.reranker.device),
            engine=self.reranker.engine.name,
            quantization="none",
            compression_ratio=self.reranker.compression_ratio,
            max_length=options.max_length,
            document_prefix_tokens=4,
            query_max_length=options.query_max_length,
            long_documents=options.long_documents,
            special_tokens="text",
            deterministic=options.deterministic,
            default_instruction=self.reranker.default_instruction,
            calibrated=self.reranker.calibration is not None,
            index_passages=None if self.index is None else len(self.index),
            index_ratio=None,
            created=1_700_000_000,
        )

    def counts(self):
        return {"requests": self.answered}

    def close(self):
        if self.index is not None:
            self.index.close()
