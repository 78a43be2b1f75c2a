"""Margins of documents in windows against the reference's, window by window."""

import numpy as np
import pytest

from kalm_reranker import KaLMReranker
from tests.parity.assertions import assert_close, our_margins
from tests.parity.pairs import QUERIES, documents
from tests.parity.reference import reference

FLOOR = 1e-4
LENGTH, OVERLAP = 64, 8


def windows_of(tokenizer, document: str) -> list[list[int]]:
    """A second writing of the rule; by ids, since a window's text may have other tokens."""
    prefix = tokenizer.encode("<Document>:", add_special_tokens=False)
    ids = tokenizer.encode(f"<Document>: {document}", add_special_tokens=False)
    assert ids[: len(prefix)] == prefix
    body, windows = ids[len(prefix) :], []
    while True:
        windows.append(prefix + body[: LENGTH - len(prefix)])
        if len(body) <= LENGTH - len(prefix):
            return windows
        body = body[LENGTH - len(prefix) - OVERLAP :]


@pytest.mark.parametrize("kind", ["grouped", "linear_rope"])
@pytest.mark.parametrize("ratio", [1, 4, 32])
def test_a_margin_is_the_references_largest_over_the_windows(checkpoints, kind, ratio):
    directory = checkpoints[kind]
    texts = [*documents(12), *documents(5, longest=400, seed=1)[3:]]
    pairs = [(QUERIES[i % len(QUERIES)], text) for i, text in enumerate(texts)]
    runs = []
    for attention, batch_size in (("sdpa", 32), ("sdpa", 3), ("eager", 32)):
        oracle = reference(directory, attention=attention)
        windows = [windows_of(oracle.tokenizer, text) for text in texts]
        flat = [
            (query, ids) for (query, _), parts in zip(pairs, windows, strict=True) for ids in parts
        ]
        margins = iter(oracle.margins_of_ids(flat, ratio=ratio, batch_size=batch_size))
        runs.append([max(next(margins) for _ in parts) for parts in windows])
    numbers = {len(parts) for parts in windows}
    assert 1 in numbers
    assert max(numbers) > 4
    expected = np.array(runs)
    assert np.ptp(expected[0]) > 1.0
    bound = max(FLOOR, 2 * float(np.abs(expected - expected[0]).max()))
    reranker = KaLMReranker(directory, dtype="float32", max_length=LENGTH, long_documents="windows")
    assert_close(our_margins(reranker, pairs, compression_ratio=ratio), expected[0], bound)
    states = reranker.encode(texts, compression_ratio=1)
    ours = [
        reranker.score(query, states[i], compression_ratio=ratio, return_margin=True)[0].margin
        for i, (query, _) in enumerate(pairs)
    ]
    assert_close(np.array(ours), expected[0], bound)
