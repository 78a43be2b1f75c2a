"""One query against many documents."""

from collections.abc import Sequence
from dataclasses import dataclass

from kalm_reranker.client.answers import RankedDocument, RerankAnswer, RerankedDocument
from kalm_reranker.client.bodies import as_json, body_of, given, ratio_on_wire
from kalm_reranker.client.documents import (
    Document,
    StoredPassage,
    checked_documents,
    document_on_wire,
)
from kalm_reranker.client.exchange import Exchange, Part
from kalm_reranker.client.reading import Answer
from kalm_reranker.client.remarks import distinct, log_remarks, remarks_of
from kalm_reranker.client.steps import Call, Steps
from kalm_reranker.encoding.texts import check_query, check_text
from kalm_reranker.options import RatioOption, check_count

_PATH = "/v1/rerank"


@dataclass(frozen=True, slots=True, kw_only=True)
class RankingOptions:
    """Settings of a ranking, as the caller gave them.

    Attributes:
        instruction: Task instruction; the server's own, if None.
        top_k: Only the best; all, if None.
        return_documents: Also give texts.
        compression_ratio: Tokens per state; the server's own, if not given.
    """

    instruction: str | None
    top_k: int | None
    return_documents: bool
    compression_ratio: RatioOption


def rank(
    exchange: Exchange,
    query: str,
    documents: Sequence[Document],
    options: RankingOptions,
    *,
    return_margin: bool,
) -> Steps[list[RankedDocument]]:
    """Returns a ranking as `KaLMReranker.rank` gives it; logs what the server warned of."""
    answer = yield from rerank(exchange, query, documents, options)
    log_remarks("rank", answer.warnings)
    return [_ranked(one, return_margin, options.return_documents) for one in answer]


def rerank(
    exchange: Exchange, query: str, documents: Sequence[Document], options: RankingOptions
) -> Steps[RerankAnswer]:
    """Returns a ranking with all that the server said about it."""
    check_query(query)
    checked = checked_documents(documents)
    top_k = None if options.top_k is None else check_count(options.top_k, "top_k")
    if options.instruction is not None:
        check_text(options.instruction, "instruction")
    fields = given(
        {
            "query": query,
            "instruction": options.instruction,
            "compression_ratio": ratio_on_wire(options.compression_ratio),
            "top_n": top_k,
            "return_margin": True,
            # Texts that came from here need not come back.
            "return_documents": options.return_documents
            and any(isinstance(one, StoredPassage) for one in checked),
        }
    )
    items = [as_json(document_on_wire(one)) for one in checked]

    def send(part: Part) -> Steps[RerankAnswer]:
        body = body_of(fields, "documents", items[part.start : part.end])
        answer = yield from exchange.ask(Call(method="POST", path=_PATH, body=body))
        texts = checked[part.start : part.end] if options.return_documents else []
        return _read(answer, part, texts)

    parts = yield from exchange.in_parts(items, send, around=len(as_json(fields)))
    return _joined(parts, top_k)


def _read(answer: Answer, part: Part, texts: Sequence[str | StoredPassage]) -> RerankAnswer:
    results = []
    for item in answer.objects("results"):
        index = item.index("index", part.end - part.start)
        text = texts[index] if texts else None
        if isinstance(text, StoredPassage):
            document = item.object("document")
            text = document.text("text") if "text" in document else None
        results.append(
            RerankedDocument(
                index=part.start + index,
                score=item.number("score"),
                margin=item.number("margin"),
                raw_score=item.optional_number("raw_score"),
                text=text,
            )
        )
    meta = answer.object("meta")
    return RerankAnswer(
        results=tuple(results),
        truncated=tuple(part.start + index for index in meta.counts("truncated")),
        query_truncated=meta.values.get("query_truncated") is True,
        warnings=remarks_of(answer, part.start),
        model=answer.text("model"),
        total_tokens=answer.object("usage").count("total_tokens"),
        request_ids=(answer.text("id"),),
    )


def _joined(parts: Sequence[RerankAnswer], top_k: int | None) -> RerankAnswer:
    """Returns the answers to parts of a list as one."""
    results = [result for part in parts for result in part]
    if len(parts) > 1:
        # By margin, since scores of very relevant documents round to the same 1.0.
        results = sorted(results, key=lambda one: (-one.margin, one.index))[:top_k]
    return RerankAnswer(
        results=tuple(results),
        truncated=tuple(sorted(index for part in parts for index in part.truncated)),
        query_truncated=any(part.query_truncated for part in parts),
        warnings=distinct(text for part in parts for text in part.warnings),
        model=parts[0].model if parts else "",
        total_tokens=sum(part.total_tokens for part in parts),
        request_ids=tuple(name for part in parts for name in part.request_ids),
    )


def _ranked(one: RerankedDocument, with_margin: bool, with_text: bool) -> RankedDocument:
    ranked = RankedDocument(corpus_id=one.index, score=one.score)
    if one.raw_score is not None:
        ranked["raw_score"] = one.raw_score
    if with_margin:
        ranked["margin"] = one.margin
    if with_text and one.text is not None:
        ranked["text"] = one.text
    return ranked
