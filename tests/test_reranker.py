"""The facade on the bundled model."""

import logging
import re
import threading

import pytest

from kalm_reranker import KaLMReranker, PassageStates, ScoredPair
from kalm_reranker.errors import InvalidOptionError, InvalidRatioError, StatesMismatchError

QUERY = "What is the capital of China?"
DOCUMENTS = [
    "Gravity attracts bodies toward one another.",
    "The capital of China is Beijing.",
    "Paris is the capital of France.",
]


@pytest.fixture(scope="module")
def pico():
    return KaLMReranker("pico", dtype="float32", device="cpu")


def test_predict_returns_probabilities_in_input_order(pico):
    pairs = [(QUERY, document) for document in DOCUMENTS]
    scores = pico.predict(pairs)
    assert [type(score) for score in scores] == [float] * 3
    assert scores[1] == max(scores)
    assert pico.predict(pairs[::-1]) == pytest.approx(scores[::-1], abs=1e-5)
    scored = pico.predict(pairs, return_margin=True)
    assert all(isinstance(pair, ScoredPair) for pair in scored)
    assert [pair.score for pair in scored] == scores
    assert pico.predict([]) == []


def test_rank_is_sorted_and_complete(pico):
    ranked = pico.rank(QUERY, DOCUMENTS)
    assert [set(result) for result in ranked] == [{"corpus_id", "score"}] * 3
    assert ranked[0]["corpus_id"] == 1
    assert sorted(result["corpus_id"] for result in ranked) == [0, 1, 2]
    assert [r["score"] for r in ranked] == sorted((r["score"] for r in ranked), reverse=True)
    scores = pico.predict([(QUERY, document) for document in DOCUMENTS])
    assert [r["score"] for r in ranked] == pytest.approx(sorted(scores, reverse=True), abs=1e-6)
    assert pico.rank(QUERY, []) == []


def test_rank_adds_what_is_asked_for(pico):
    (best,) = pico.rank(QUERY, DOCUMENTS, top_k=1, return_documents=True, return_margin=True)
    assert best["text"] == DOCUMENTS[1]
    assert best["margin"] > 0
    assert len(pico.rank(QUERY, DOCUMENTS, top_k=100)) == 3


def test_equal_documents_keep_their_order(pico):
    ranked = pico.rank(QUERY, [DOCUMENTS[0], DOCUMENTS[1], DOCUMENTS[0], DOCUMENTS[1]])
    assert [result["corpus_id"] for result in ranked] == [1, 3, 0, 2]


def test_saturated_scores_are_sorted_by_margin(pico, monkeypatch):
    margins = [40.0, 45.0, 50.0]  # all of them are 1.0 as a double's sigmoid
    monkeypatch.setattr(pico._pipeline, "score_texts", lambda *args: margins)
    ranked = pico.rank(QUERY, DOCUMENTS)
    assert {result["score"] for result in ranked} == {1.0}
    assert [result["corpus_id"] for result in ranked] == [2, 1, 0]


def test_instruction_and_system_instruction_reach_the_prompt(pico):
    pair = [(QUERY, DOCUMENTS[1])]
    default = pico.predict(pair)
    assert pico.predict(pair, pico.default_instruction) == default
    assert pico.predict(pair, instruction="Find a refutation.") != default
    other = KaLMReranker("pico", dtype="float32", system_instruction="Answer yes or no.")
    assert other.predict(pair) != default


def test_encode_once_and_score_many_queries(pico):
    states = pico.encode(DOCUMENTS)
    assert isinstance(states, PassageStates)
    assert states.slots.device.type == "cpu"
    for query in (QUERY, "What attracts bodies?"):
        expected = pico.predict([(query, document) for document in DOCUMENTS])
        assert pico.score(query, states) == pytest.approx(expected, abs=1e-5)
    assert pico.score(QUERY, states[[1]]) == pytest.approx(
        pico.predict([(QUERY, DOCUMENTS[1])]), abs=1e-5
    )
    assert pico.score(QUERY, pico.encode([])) == []


def test_a_coarser_ratio_is_the_same_from_states_and_from_text(pico):
    states = pico.encode(DOCUMENTS)
    pairs = [(QUERY, document) for document in DOCUMENTS]
    for ratio in (2, 4, 32):
        expected = pico.predict(pairs, compression_ratio=ratio)
        assert pico.score(QUERY, states, compression_ratio=ratio) == pytest.approx(
            expected, abs=1e-5
        )
    with pytest.raises(InvalidRatioError, match="multiple of the stored ratio 2; got 3"):
        pico.score(QUERY, states, compression_ratio=3)
    with pytest.raises(InvalidRatioError, match="multiple of the stored ratio 2; got 1"):
        pico.score(QUERY, states, compression_ratio=None)


def test_chunk_size_is_the_compression_ratio():
    chunked = KaLMReranker("pico", chunk_size=8)
    assert chunked.compression_ratio == 8
    assert KaLMReranker("pico", compression_ratio=8).compression_ratio == 8
    assert KaLMReranker("pico", chunk_size=None).compression_ratio == 1
    assert KaLMReranker("pico").compression_ratio == 2  # the checkpoint's own
    with pytest.raises(InvalidOptionError, match="two names of one setting"):
        KaLMReranker("pico", chunk_size=4, compression_ratio=4)


def test_positional_arguments_are_the_references():
    reranker = KaLMReranker("pico", "cpu", "float32", 4, 8, 64, 16)
    assert reranker.options.batch_size == 4
    assert reranker.options.query_max_length == 8
    assert reranker.options.max_length == 64
    assert reranker.compression_ratio == 16


def test_states_of_another_model_are_refused(pico, tmp_path):
    from tests.parity.random_checkpoints import TINY, build_checkpoint

    other = KaLMReranker(build_checkpoint(tmp_path / "other", **{**TINY, "hidden_size": 256}))
    states = other.encode(DOCUMENTS)
    with pytest.raises(StatesMismatchError) as caught:
        pico.score(QUERY, states)
    assert states.provenance.model_fingerprint in str(caught.value)
    assert pico.provenance.model_fingerprint in str(caught.value)


def test_each_distinct_document_is_encoded_once(pico):
    reranker = KaLMReranker("pico")
    reranker.predict([(query, document) for query in ("a", "b") for document in DOCUMENTS])
    counts = reranker.stats.as_dict()
    assert counts["passages_encoded"] == 3
    assert counts["passages_reused"] == 3
    assert counts["pairs_scored"] == 6
    assert counts["queries"] == 2


def test_cuts_are_counted_and_logged(caplog):
    reranker = KaLMReranker("pico", max_length=8, query_max_length=3)
    with caplog.at_level(logging.INFO, logger="kalm_reranker"):
        reranker.rank(QUERY, [*DOCUMENTS, "short"])
        states = reranker.encode([*DOCUMENTS, "a"])
    assert "4 documents were cut at max_length=8 tokens" in caplog.text
    assert "a query was cut at query_max_length=3 tokens" in caplog.text
    assert states.truncated == (True, True, True, False)
    assert reranker.stats.queries_truncated == 1
    assert reranker.stats.passages_truncated >= 6


def test_many_passages_are_read_in_blocks_and_each_once(pico, monkeypatch):
    import kalm_reranker.engine.pipeline as pipeline

    pairs = [(query, document) for query in ("a", QUERY) for document in DOCUMENTS]
    expected = pico.predict(pairs)
    monkeypatch.setattr(pipeline, "_BLOCK_BYTES", 1)
    monkeypatch.setattr(pipeline, "_SMALLEST_BLOCK", 2)
    before = pico.stats.passages_encoded
    assert pico.predict(pairs) == pytest.approx(expected, abs=1e-5)
    assert pico.stats.passages_encoded - before == len(DOCUMENTS)


def test_only_the_last_position_and_two_rows_are_computed(pico):
    shapes = []
    last_layer = pico._pipeline.model.model.decoder.layers[-1]
    hook = last_layer.mlp.register_forward_hook(lambda _, args, out: shapes.append(out.shape))
    pico.rank(QUERY, DOCUMENTS)
    hook.remove()
    assert shapes == [(len(DOCUMENTS), 1, 256)]
    vocabulary = pico._pipeline.model.config.decoder.vocab_size
    modules = pico._pipeline.model.modules()
    assert not any(getattr(module, "out_features", 0) == vocabulary for module in modules)


def test_threads_may_share_a_reranker(pico):
    expected = pico.rank(QUERY, DOCUMENTS)
    results = []

    def work():
        results.append(pico.rank(QUERY, DOCUMENTS))

    threads = [threading.Thread(target=work) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert results == [expected] * 8


def test_repr_says_what_was_chosen(pico):
    assert re.fullmatch(
        r"KaLMReranker\('pico', device='cpu', dtype='float32' \(asked for\), "
        r"engine='\w+' \(.*\), "
        r"threads=\d+ \(.*\), compression_ratio=2, max_length=512, query_max_length=26, "
        r"batch_size=32\)",
        repr(pico),
    )
    chosen = KaLMReranker("pico", device="cpu")
    assert f"dtype={str(chosen.dtype).removeprefix('torch.')!r} (the processor has" in repr(chosen)


@pytest.mark.parametrize("show", [True, False])
def test_progress_bars_go_to_stderr(pico, capfd, show):
    pico.rank(QUERY, DOCUMENTS, show_progress=show)
    captured = capfd.readouterr()
    assert captured.out == ""
    assert ("encode" in captured.err) is show
    assert ("score" in captured.err) is show


def test_no_progress_bar_without_a_terminal(pico, capfd):
    pico.rank(QUERY, [f"document {i}" for i in range(250)])
    assert capfd.readouterr().err == ""


def test_warm_up_counts_nothing_and_changes_no_score():
    reranker = KaLMReranker("pico", dtype="float32")
    states = reranker.encode(DOCUMENTS)
    before, expected = reranker.stats.as_dict(), reranker.score(QUERY, states)
    counted = reranker.stats.as_dict()
    assert reranker.warm_up(num_candidates=3, num_queries=2) > 0
    assert reranker.stats.as_dict() == counted != before
    assert reranker.score(QUERY, states) == expected
    with pytest.raises(InvalidOptionError, match="num_candidates must be a positive integer"):
        reranker.warm_up(num_candidates=0)


def test_prompt_tokens_are_those_that_the_decoder_reads(pico):
    all_tokens, own = pico.count_prompt_tokens(QUERY)
    assert 0 < own < all_tokens
    longer, own_of_longer = pico.count_prompt_tokens("Which city is the capital of China today?")
    assert longer - own_of_longer == all_tokens - own  # what comes first is shared
    assert own_of_longer > own
    instructed, own_of_instructed = pico.count_prompt_tokens(QUERY, "Find the city, not the land.")
    assert instructed != all_tokens
    assert own_of_instructed == own
