"""What answers say beside their results: tokens counted, texts cut, anything else to know."""

from collections.abc import Sequence
from typing import Any

from pydantic import BaseModel, Field

from kalm_reranker.server.answering import ModelFacts
from kalm_reranker.server.calls import ScoreCall, ScoreResult

_MOST_INDICES = 20


class Usage(BaseModel):
    """Tokens, as if each pair had been read on its own."""

    prompt_tokens: int = Field(ge=0)
    total_tokens: int = Field(ge=0)


class APIVersion(BaseModel):
    """Of the Cohere API that the answer follows."""

    version: str


class BilledUnits(BaseModel):
    """Always one search: nothing is billed, but Cohere's clients look for it."""

    search_units: int


class Tokens(BaseModel):
    """Tokens, under Cohere's names."""

    input_tokens: int = Field(ge=0)
    output_tokens: int = Field(ge=0)


class Remarks(BaseModel):
    """What is not as one would expect, in sentences."""

    warnings: list[str]


class ScoreMeta(Remarks):
    """How the scores came about."""

    api_version: APIVersion
    billed_units: BilledUnits
    tokens: Tokens
    truncated: list[int] = Field(description="Indices of documents that were cut, ascending.")
    query_truncated: bool = Field(description="Whether a query was cut.")
    compression_ratio: int = Field(description="Tokens per passage state.", ge=1)


def usage(result: ScoreResult) -> dict[str, Any]:
    """Returns a `Usage`."""
    return {"prompt_tokens": result.total_tokens, "total_tokens": result.total_tokens}


def score_meta(
    call: ScoreCall,
    result: ScoreResult,
    facts: ModelFacts,
    remarks: Sequence[str],
    *,
    documents: str = "documents",
) -> dict[str, Any]:
    """Returns a `ScoreMeta`.

    Args:
        call: What was asked.
        result: What became of it.
        facts: Of the model.
        remarks: What else the caller should know.
        documents: What the request calls its documents.
    """
    return {
        "api_version": {"version": "2"},
        "billed_units": {"search_units": 1},
        "tokens": {"input_tokens": result.total_tokens, "output_tokens": 0},
        "warnings": [*remarks, *_cut_remarks(call, result, facts, documents), *result.warnings],
        "truncated": sorted(result.truncated),
        "query_truncated": bool(result.queries_truncated),
        "compression_ratio": result.compression_ratio,
    }


def _cut_remarks(
    call: ScoreCall, result: ScoreResult, facts: ModelFacts, documents: str
) -> list[str]:
    remarks = []
    if result.queries_truncated:
        which = (
            "The query was"
            if len(call.queries) == 1
            else f"{len(result.queries_truncated):,} queries were"
        )
        remarks.append(f"{which} cut at {facts.query_max_length:,} tokens; the rest was not read.")
    if result.truncated:
        own_limit = facts.max_length - facts.document_prefix_tokens
        limit = min(call.max_document_tokens or own_limit, own_limit)
        indices = sorted(result.truncated)
        named = ", ".join(f"{documents}[{index}]" for index in indices[:_MOST_INDICES])
        more = len(indices) - _MOST_INDICES
        remarks.append(
            f"Cut at {limit:,} tokens, the rest was not read: {named}"
            + (f" and {more:,} more (all are in meta.truncated)." if more > 0 else ".")
        )
    return remarks
