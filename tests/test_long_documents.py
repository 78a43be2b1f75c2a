"""`long_documents="windows"` in everything a reranker does, with the bundled model."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from kalm_reranker import KaLMReranker
from kalm_reranker.encoding.states import PassageStates
from kalm_reranker.errors import (
    InvalidOptionError,
    InvalidRatioError,
    NonFiniteScoreError,
    StatesMismatchError,
)

QUERY = "What is the capital of China?"
ANSWER = "The capital of China is Beijing."
FILLER = "Gravity attracts bodies toward one another, and rivers run to the sea. "
LATE = FILLER * 40 + ANSWER + FILLER * 3  # some 600 tokens, the answer at the end
DOCUMENTS = [LATE, FILLER, "", ANSWER, FILLER * 40, ANSWER + FILLER * 40]


@pytest.fixture(scope="module")
def reranker() -> KaLMReranker:
    return KaLMReranker("pico", dtype="float32", max_length=64, long_documents="windows")


@pytest.fixture(scope="module")
def cutting() -> KaLMReranker:
    return KaLMReranker("pico", dtype="float32", max_length=64)


def margins(scored) -> np.ndarray:
    return np.array([pair.margin for pair in scored])


def margins_of_windows(reranker, ratio) -> list[float]:
    """The best of each document's windows, each scored as a passage that knows no windows."""
    pipeline = reranker._pipeline
    best = []
    for windows in pipeline.tokenizer.encode_windows(DOCUMENTS, 64):
        states = []
        for ids in windows:
            token_ids = torch.tensor([ids])
            mask = torch.ones_like(token_ids).bool()
            with torch.inference_mode():
                slots, _ = pipeline.model.encode(token_ids, mask, ratio)
            origin = replace(reranker.provenance, long_documents="truncate")
            states.append(PassageStates(slots[0], [len(ids)], [False], ratio, origin))
        scored = [reranker.score(QUERY, one, return_margin=True)[0].margin for one in states]
        best.append(max(scored))
    return best


@pytest.mark.parametrize("ratio", [1, 2, 32, 64])
def test_a_document_scores_as_its_best_window(reranker, ratio):
    expected = margins_of_windows(reranker, ratio)
    pairs = [(QUERY, text) for text in DOCUMENTS]
    predicted = reranker.predict(pairs, return_margin=True, compression_ratio=ratio)
    np.testing.assert_allclose(margins(predicted), expected, atol=1e-4)
    states = reranker.encode(DOCUMENTS, compression_ratio=1)
    stored = reranker.score(QUERY, states, return_margin=True, compression_ratio=ratio)
    np.testing.assert_allclose(margins(stored), expected, atol=1e-4)
    (many,) = reranker.score_many([(QUERY, states.repool(ratio))])
    np.testing.assert_allclose(margins(many), expected, atol=1e-4)


def test_what_truncation_does_not_see_is_found(reranker, cutting):
    order = [result["corpus_id"] for result in reranker.rank(QUERY, DOCUMENTS)]
    assert set(order[:3]) == {0, 3, 5}
    cut = [result["corpus_id"] for result in cutting.rank(QUERY, DOCUMENTS)]
    assert set(cut[:2]) == {3, 5}
    assert cut.index(0) > cut.index(1)


def test_documents_within_the_limit_score_as_ever(reranker, cutting):
    pairs = [(QUERY, text) for text in (FILLER, "", ANSWER)]
    ours = margins(reranker.predict(pairs, return_margin=True))
    np.testing.assert_array_equal(ours, margins(cutting.predict(pairs, return_margin=True)))
    assert reranker.encode([FILLER]).windows() is None
    assert cutting.encode([LATE]).windows() is None


def test_nothing_is_cut_and_windows_are_counted():
    reranker = KaLMReranker("pico", dtype="float32", max_length=64, long_documents="windows")
    states = reranker.encode([LATE, ANSWER, FILLER * 40])
    assert states.truncated == (False, False, False)
    counts = reranker.stats.as_dict()
    assert counts["passages_truncated"] == 0
    assert counts["passages_encoded"] == 3
    assert counts["passages_split"] == 2
    windows = reranker._pipeline.tokenizer.encode_windows([LATE, FILLER * 40], 64)
    assert counts["windows_encoded"] == sum(map(len, windows)) > 20
    assert states.token_counts[0] == sum(map(len, windows[0]))
    assert "long_documents='windows'" in repr(reranker)
    reranker.score(QUERY, states)
    assert reranker.stats.pairs_scored == 3


def test_windows_go_through_the_prefix_cache(reranker):
    states = reranker.encode(DOCUMENTS)
    whole = KaLMReranker(
        "pico", dtype="float32", max_length=64, long_documents="windows", prefix_cache_bytes=0
    )
    before = reranker.prefix_cache_stats
    first = margins(reranker.score(QUERY, states, return_margin=True))
    between = reranker.prefix_cache_stats
    np.testing.assert_array_equal(margins(reranker.score(QUERY, states, return_margin=True)), first)
    after = reranker.prefix_cache_stats
    num_windows = len(states.windows().owners)
    assert between.misses - before.misses == num_windows
    assert after.misses == between.misses
    assert after.hits - between.hits == num_windows
    uncached = margins(whole.score(QUERY, states, return_margin=True))
    np.testing.assert_allclose(first, uncached, atol=1e-4)
    # A part of the states, also one whose passages all have one window, finds what is held.
    reranker.score(QUERY, states[[1, 2, 3]])
    assert reranker.prefix_cache_stats.misses == after.misses


def test_deterministic_gives_identical_bits_in_any_company():
    reranker = KaLMReranker(
        "pico", dtype="float32", max_length=64, long_documents="windows", deterministic=True
    )
    pairs = [(QUERY, text) for text in DOCUMENTS]
    together = margins(reranker.predict(pairs, return_margin=True))
    alone = [margins(reranker.predict([pair], return_margin=True))[0] for pair in pairs]
    np.testing.assert_array_equal(together, alone)


def test_long_documents_are_read_in_blocks_that_fit(reranker, monkeypatch):
    import kalm_reranker.engine.pipeline as pipeline

    pairs = [(query, text) for query in (QUERY, "gravity") for text in DOCUMENTS]
    expected = margins(reranker.predict(pairs, return_margin=True))
    sizes = []
    encode = reranker._pipeline.encode
    monkeypatch.setattr(
        reranker._pipeline,
        "encode",
        lambda texts, *a, **k: sizes.append(len(texts)) or encode(texts, *a, **k),
    )
    monkeypatch.setattr(pipeline, "_BLOCK_BYTES", 1)
    monkeypatch.setattr(pipeline, "_SMALLEST_BLOCK", 50)  # windows
    np.testing.assert_allclose(
        margins(reranker.predict(pairs, return_margin=True)), expected, atol=1e-4
    )
    assert sizes == [1, 4, 1]


def test_states_know_how_they_were_read(reranker, cutting):
    windowed, cut = reranker.encode(DOCUMENTS), cutting.encode(DOCUMENTS)
    assert windowed.provenance.long_documents == "windows"
    assert cut.provenance.long_documents == "truncate"
    # As with another length limit: scored as they are, joined with none of the other kind.
    for states in (windowed, cut):
        np.testing.assert_allclose(
            margins(reranker.score(QUERY, states, return_margin=True)),
            margins(cutting.score(QUERY, states, return_margin=True)),
            atol=1e-4,
        )
    with pytest.raises(StatesMismatchError, match="different origin"):
        PassageStates.concatenate([windowed, cut])
    requests = [(QUERY, windowed), ("gravity", cut[1:]), ("gravity", windowed[:2])]
    scored = reranker.score_many(requests)
    for (query, states), pairs in zip(requests, scored, strict=True):
        alone = reranker.score(query, states, return_margin=True)
        np.testing.assert_allclose(margins(pairs), margins(alone), atol=1e-4)


def test_errors_name_the_pair_that_the_caller_gave(reranker):
    states = reranker.encode([LATE, ANSWER])
    states.slots[-1] = float("nan")
    with pytest.raises(NonFiniteScoreError, match=r"first: pair 1\)"):
        reranker.score(QUERY, states)


@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        ({"long_documents": "split"}, InvalidOptionError, "'truncate', 'windows'; got 'split'"),
        ({"long_documents": None}, InvalidOptionError, "got None"),
        (
            {"long_documents": "windows", "max_length": 63},
            InvalidRatioError,
            r"must divide max_length .*; got 2 and 63\. Hint: .* or max_length=62",
        ),
        (
            {"long_documents": "windows", "max_length": 64, "compression_ratio": 3},
            InvalidRatioError,
            "got 3 and 64",
        ),
        (
            {"long_documents": "windows", "max_length": 4},
            InvalidOptionError,
            "max_length must be above 5 with long_documents='windows'.*; got 4",
        ),
    ],
)
def test_settings_that_do_not_go_together(options, error, message):
    with pytest.raises(error, match=message):
        KaLMReranker("pico", **options)


@pytest.mark.parametrize("ratio", [3, 128])
def test_a_ratio_must_divide_the_windows_in_every_call(reranker, ratio):
    states = reranker.encode([ANSWER], compression_ratio=1)
    for call in (
        lambda: reranker.predict([(QUERY, ANSWER)], compression_ratio=ratio),
        lambda: reranker.rank(QUERY, [ANSWER], compression_ratio=ratio),
        lambda: reranker.encode([ANSWER], compression_ratio=ratio),
        lambda: reranker.score(QUERY, states, compression_ratio=ratio),
    ):
        with pytest.raises(InvalidRatioError, match=f"got {ratio} and 64"):
            call()
