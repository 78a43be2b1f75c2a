"""Search of the server's index."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from kalm_reranker.client.answers import SearchAnswer, SearchHit
from kalm_reranker.client.bodies import as_json, given, ratio_on_wire
from kalm_reranker.client.exchange import Exchange
from kalm_reranker.client.reading import Answer
from kalm_reranker.client.remarks import remarks_of
from kalm_reranker.client.steps import Call, Steps
from kalm_reranker.encoding.texts import check_query, check_text
from kalm_reranker.options import RatioOption, check_count

_PATH = "/v1/search"


@dataclass(frozen=True, slots=True, kw_only=True)
class SearchOptions:
    """Settings of a search, as the caller gave them; `PassageIndex.search` says what each means."""

    top_k: int
    candidates: int | None
    instruction: str | None
    first_stage: str | None
    compression_ratio: RatioOption
    fuse: bool | None
    filter: Mapping[str, Any] | None
    return_documents: bool


def search(exchange: Exchange, query: str, options: SearchOptions) -> Steps[SearchAnswer]:
    """Returns the passages that answer a query."""
    if options.instruction is not None:
        check_text(options.instruction, "instruction")
    body = given(
        {
            "query": check_query(query),
            "top_k": check_count(options.top_k, "top_k"),
            "candidates": (
                None
                if options.candidates is None
                else check_count(options.candidates, "candidates")
            ),
            "instruction": options.instruction,
            "first_stage": options.first_stage,
            "compression_ratio": ratio_on_wire(options.compression_ratio),
            "fuse": options.fuse,
            "filter": options.filter and dict(options.filter),
            "return_documents": options.return_documents,
            "return_margin": True,
        }
    )
    answer = yield from exchange.ask(Call(method="POST", path=_PATH, body=as_json(body)))
    return SearchAnswer(
        results=tuple(_hit(item) for item in answer.objects("results")),
        num_candidates=answer.count("num_candidates"),
        stages=tuple(stage.values for stage in answer.objects("stages")),
        warnings=remarks_of(answer, 0),
        model=answer.text("model"),
        request_id=answer.text("id"),
    )


def _hit(item: Answer) -> SearchHit:
    document = item.object("document")
    return SearchHit(
        id=item.text("id"),
        rank=item.count("rank"),
        score=item.number("score"),
        margin=item.number("margin"),
        text=document.text("text") if "text" in document else None,
        metadata=item.object("metadata").values,
        compression_ratio=item.count("compression_ratio"),
        first_stage_score=item.optional_number("first_stage_score"),
        first_stage_rank=item.count("first_stage_rank"),
        truncated=item.values.get("truncated") is True,
        blended=item.optional_number("blended"),
        raw_score=item.optional_number("raw_score"),
    )
