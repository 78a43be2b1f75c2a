"""Whether a server's answers are those of `KaLMReranker`, whatever else it was busy with."""

import statistics
from collections.abc import Mapping, Sequence
from typing import Any

from report import percentile
from serving_load import Exchange

from kalm_reranker import KaLMReranker
from kalm_reranker.scoring import ScoredPair


def differences(exchanges: Sequence[Exchange], reranker: KaLMReranker) -> dict[str, Any]:
    """Compares all answers with what a reranker in this process says, request by request.

    Args:
        exchanges: Requests that asked for margins, and their answers.
        reranker: The same model, in the same dtype.

    Returns:
        Pairs, how far margins and scores are apart, and answers that are wrong in other ways.
    """
    margins: list[float] = []
    scores: list[float] = []
    wrong: list[str] = []
    for exchange in exchanges:
        assert exchange.answer is not None
        expected = _in_process(exchange.request.payload, reranker)
        results = exchange.answer.json()["results"]
        wrong += _faults(exchange.request.payload, results)
        for result in results:
            if result["index"] not in range(len(expected)):
                continue  # one of the faults
            pair = expected[result["index"]]
            margins.append(abs(result["margin"] - pair.margin))
            scores.append(abs(result["score"] - pair.score))
    return {
        **_spread(margins),
        "requests": len(exchanges),
        "score_max": max(scores, default=0.0),
        "identical_share": sum(value == 0 for value in margins) / max(1, len(margins)),
        "wrong": wrong,
    }


def own_spread(
    exchanges: Sequence[Exchange], reranker: KaLMReranker, *, pairs: int
) -> dict[str, dict[str, Any]]:
    """Returns how far the reranker's margins of whole requests are from its own in other ways.

    Nobody can be nearer to it than it is to itself.

    Args:
        exchanges: As above; as many of them as needed are read.
        reranker: The same.
        pairs: How many to compare.

    Returns:
        By way: "alone" scores each pair in a call of its own; "states" encodes the documents at
        the reranker's ratio and scores their states, pooled where the request has another ratio:
        what is done with whatever is kept.
    """
    found: dict[str, list[float]] = {"alone": [], "states": []}
    for exchange in exchanges:
        if len(found["alone"]) >= pairs:
            break
        payload = exchange.request.payload
        together = _in_process(payload, reranker)
        states = _from_states(payload, reranker)
        for index, ((query, document), pair) in enumerate(
            zip(_pairs(payload), together, strict=True)
        ):
            (alone,) = _in_process(
                {**payload, "pairs": [{"query": query, "document": document}]}, reranker
            )
            found["alone"].append(abs(alone.margin - pair.margin))
            found["states"].append(abs(states[index].margin - pair.margin))
    return {name: _spread(margins) for name, margins in found.items()}


def _spread(margins: Sequence[float]) -> dict[str, Any]:
    return {
        "pairs": len(margins),
        "margin_max": max(margins, default=0.0),
        "margin_p99": percentile(margins or [0.0], 99),
        "margin_mean": statistics.fmean(margins or [0.0]),
    }


def _from_states(payload: Mapping[str, Any], reranker: KaLMReranker) -> list[ScoredPair]:
    pairs = _pairs(payload)
    states = reranker.encode([text for _, text in pairs], show_progress=False)
    ratio = {name: payload[name] for name in ("compression_ratio",) if name in payload}
    scored: dict[int, ScoredPair] = {}
    for query in dict.fromkeys(query for query, _ in pairs):
        rows = [index for index, pair in enumerate(pairs) if pair[0] == query]
        found = reranker.score(
            query,
            states[rows],
            payload.get("instruction"),
            return_margin=True,
            show_progress=False,
            **ratio,
        )
        scored |= dict(zip(rows, found, strict=True))
    return [scored[index] for index in range(len(pairs))]


def _in_process(payload: Mapping[str, Any], reranker: KaLMReranker) -> list[ScoredPair]:
    chosen = {
        name: payload[name] for name in ("instruction", "compression_ratio") if name in payload
    }
    return reranker.predict(_pairs(payload), return_margin=True, show_progress=False, **chosen)


def _pairs(payload: Mapping[str, Any]) -> list[tuple[str, str]]:
    if "pairs" in payload:
        return [(pair["query"], pair["document"]) for pair in payload["pairs"]]
    return [(payload["query"], document) for document in payload["documents"]]


def _faults(payload: Mapping[str, Any], results: Sequence[Mapping[str, Any]]) -> list[str]:
    """Returns what is wrong with an answer besides its numbers."""
    count = len(_pairs(payload))
    indices = [result["index"] for result in results]
    if sorted(indices) != list(range(count)):
        return [f"indices {indices} for {count} pairs"]
    if "pairs" in payload:
        return [] if indices == list(range(count)) else ["pairs are not in the order of the input"]
    margins = [result["margin"] for result in results]
    return [] if margins == sorted(margins, reverse=True) else ["results are not sorted by margin"]
