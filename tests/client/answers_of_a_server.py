"""Answers as `kalm serve` gives them, computed from what was asked."""

from tests.client.scripted_server import answer

_META = {"warnings": [], "truncated": [], "query_truncated": False, "compression_ratio": 2}


def margin_of(document):
    """A margin that tells documents apart: the number a text ends with."""
    return float(document.split()[-1])


def score_of(margin):
    return 0.5 + margin / 10_000


def reranked(request, **meta):
    """The answer to a rerank request."""
    margins = [margin_of(document) for document in request["documents"]]
    order = sorted(range(len(margins)), key=lambda index: -margins[index])
    results = [
        {
            "index": index,
            "relevance_score": score_of(margins[index]),
            "score": score_of(margins[index]),
            "margin": margins[index],
        }
        for index in order[: request.get("top_n")]
    ]
    return {
        "id": f"r{len(margins)}",
        "object": "rerank",
        "created": 1,
        "model": "pico",
        "results": results,
        "usage": {"prompt_tokens": 10, "total_tokens": 10},
        "meta": {**_META, **meta},
    }


def scored(request, **meta):
    """The answer to a score request."""
    margins = [margin_of(pair["document"]) for pair in request["pairs"]]
    return {
        "id": f"s{len(margins)}",
        "object": "score",
        "created": 1,
        "model": "pico",
        "results": [
            {"index": index, "score": score_of(margin), "margin": margin}
            for index, margin in enumerate(margins)
        ],
        "usage": {"prompt_tokens": 10, "total_tokens": 10},
        "meta": {**_META, **meta},
    }


def obliging(limits=None, **meta):
    """An act that answers whatever is asked, within limits."""
    limits = limits or {"max_documents": 1000, "max_body_bytes": 2**24}

    def act(handler):
        seen = handler.server_seen
        items = next(
            (seen.body[name] for name in ("documents", "pairs") if seen.body and name in seen.body),
            [],
        )
        if seen.path == "/info":
            value, status = {"model_id": "pico", "limits": limits}, 200
        elif len(items) > limits["max_documents"] or (
            int(seen.headers.get("content-length", 0)) > limits["max_body_bytes"]
        ):
            value, status = {"error": {"message": "too many.", "code": "too_large"}}, 413
        else:
            make = reranked if "documents" in seen.body else scored
            value, status = make(seen.body, **meta), 200
        answer(value, status)(handler)

    return act
