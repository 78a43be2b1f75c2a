"""Independent pairs of a query and a document."""

from collections.abc import Sequence
from typing import TypeAlias

from kalm_reranker.client.answers import ScoreAnswer
from kalm_reranker.client.bodies import as_json, body_of, given, ratio_on_wire
from kalm_reranker.client.documents import Document, checked_document, document_on_wire
from kalm_reranker.client.exchange import Exchange, Part
from kalm_reranker.client.reading import Answer
from kalm_reranker.client.remarks import distinct, log_remarks, remarks_of
from kalm_reranker.client.steps import Call, Steps
from kalm_reranker.encoding.texts import check_query, check_text
from kalm_reranker.errors import InvalidPairError
from kalm_reranker.options import RatioOption
from kalm_reranker.scoring import ScoredPair

_PATH = "/v1/score"

Pair: TypeAlias = tuple[str, Document]


def predict(
    exchange: Exchange,
    pairs: Sequence[Pair],
    instruction: str | None,
    compression_ratio: RatioOption,
) -> Steps[list[ScoredPair]]:
    """Returns scores as `KaLMReranker.predict` gives them; logs what the server warned of."""
    answer = yield from score_pairs(exchange, pairs, instruction, compression_ratio)
    log_remarks("predict", answer.warnings)
    return list(answer)


def score_pairs(
    exchange: Exchange,
    pairs: Sequence[Pair],
    instruction: str | None,
    compression_ratio: RatioOption,
) -> Steps[ScoreAnswer]:
    """Returns scores with all that the server said about them."""
    if isinstance(pairs, str) or not isinstance(pairs, Sequence):
        raise InvalidPairError(
            f"pairs must be a list of (query, document) pairs; got {type(pairs).__name__}.",
            hint="Pass list(pairs).",
        )
    if instruction is not None:
        check_text(instruction, "instruction")
    items = [_pair_as_json(pair, f"pairs[{index}]") for index, pair in enumerate(pairs)]
    fields = given(
        {
            "instruction": instruction,
            "compression_ratio": ratio_on_wire(compression_ratio),
            "return_margin": True,
        }
    )

    def send(part: Part) -> Steps[ScoreAnswer]:
        body = body_of(fields, "pairs", items[part.start : part.end])
        answer = yield from exchange.ask(Call(method="POST", path=_PATH, body=body))
        return _read(answer, part)

    parts = yield from exchange.in_parts(items, send, around=len(as_json(fields)))
    return ScoreAnswer(
        pairs=tuple(pair for part in parts for pair in part),
        truncated=tuple(index for part in parts for index in part.truncated),
        query_truncated=any(part.query_truncated for part in parts),
        warnings=distinct(text for part in parts for text in part.warnings),
        model=parts[0].model if parts else "",
        total_tokens=sum(part.total_tokens for part in parts),
        request_ids=tuple(name for part in parts for name in part.request_ids),
    )


def _pair_as_json(pair: object, what: str) -> bytes:
    if isinstance(pair, str) or not isinstance(pair, Sequence) or len(pair) != 2:
        got = f"{len(pair)} elements" if isinstance(pair, tuple | list) else type(pair).__name__
        raise InvalidPairError(
            f"{what} must be a (query, document) pair; got {got}.",
            hint="Wrap a single pair in a list: predict([(query, document)]).",
        )
    query = check_query(pair[0], f"{what} query")
    document = document_on_wire(checked_document(pair[1], f"{what} document"))
    return as_json({"query": query, "document": document})


def _read(answer: Answer, part: Part) -> ScoreAnswer:
    length = part.end - part.start
    results = answer.objects("results")
    if len(results) != length:
        raise answer.error("results", f"{length} of them, as many as pairs were sent")
    meta = answer.object("meta")
    return ScoreAnswer(
        pairs=tuple(ScoredPair(item.number("score"), item.number("margin")) for item in results),
        truncated=tuple(part.start + index for index in sorted(meta.counts("truncated"))),
        query_truncated=meta.values.get("query_truncated") is True,
        warnings=remarks_of(answer, part.start),
        model=answer.text("model"),
        total_tokens=answer.object("usage").count("total_tokens"),
        request_ids=(answer.text("id"),),
    )
