"""Whatever is handed in gives a typed error or a documented result, never a library's trace."""

import numpy as np
import pytest
import torch

from kalm_reranker import KaLMReranker
from kalm_reranker.errors import (
    CheckpointNotFoundError,
    InputError,
    InvalidCheckpointError,
    InvalidOptionError,
    InvalidPairError,
    InvalidRatioError,
    InvalidTextError,
    KalmRerankerError,
    NonFiniteScoreError,
    StatesMismatchError,
    TextTypeError,
)
from tests.parity.random_checkpoints import TINY, build_checkpoint, copy_with


@pytest.fixture(scope="module")
def pico():
    return KaLMReranker("pico")


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (lambda r: r.rank("", ["d"]), InvalidTextError, "query must hold some text"),
        (lambda r: r.rank(" \n", ["d"]), InvalidTextError, "query must hold some text"),
        (lambda r: r.rank(None, ["d"]), TextTypeError, "query must be a string; got NoneType"),
        (lambda r: r.rank("q", "d"), TextTypeError, "documents must be a list of strings; got str"),
        (lambda r: r.rank("q", ["d", 3]), TextTypeError, r"documents\[1\] must be a string"),
        (lambda r: r.rank("q", ["\ud800"]), InvalidTextError, r"documents\[0\] holds a lone"),
        (lambda r: r.rank("q\udfff", ["d"]), InvalidTextError, "query holds a lone surrogate"),
        (lambda r: r.rank("q", ["d"], "\ud800"), InvalidTextError, "instruction holds a lone"),
        (lambda r: r.rank("q", ["d"], 7), TextTypeError, "instruction must be a string; got int"),
        (lambda r: r.rank("q", ["d"], top_k=0), InvalidOptionError, "top_k must be a positive"),
        (lambda r: r.rank("q", ["d"], compression_ratio=0), InvalidRatioError, "got 0"),
        (lambda r: r.rank("q", ["d"], compression_ratio="4"), InvalidRatioError, "got '4'"),
        (lambda r: r.predict([("q", "d", "x")]), InvalidPairError, r"pairs\[0\] .* 3 elements"),
        (lambda r: r.predict(["qd"]), InvalidPairError, r"pairs\[0\] must be"),
        (lambda r: r.predict("qd"), InvalidPairError, "pairs must be a list"),
        (lambda r: r.predict([("", "d")]), InvalidTextError, r"pairs\[0\] query must hold"),
        (lambda r: r.encode([b"x"]), TextTypeError, r"documents\[0\] must be a string; got bytes"),
        (lambda r: r.score("q", ["d"]), InputError, "states must be PassageStates, .* got list"),
        (lambda r: r.score("q", None), InputError, "states must be PassageStates, .* got NoneType"),
        (lambda r: r.rank("q", (d for d in "ab")), TextTypeError, r"Hint: Pass list\(documents\)"),
        (lambda r: r.score("", r.encode(["d"])), InvalidTextError, "query must hold some text"),
        (
            lambda r: r.rank("q", ["d"], "instruction " * 9000),
            InvalidTextError,
            "prompt has .* tokens; the model reads at most 8192",
        ),
    ],
)
def test_bad_calls(pico, call, error, message):
    with pytest.raises(error, match=message) as caught:
        call(pico)
    assert isinstance(caught.value, KalmRerankerError)


@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        ({"batch_size": 0}, InvalidOptionError, "batch_size must be a positive integer; got 0"),
        ({"batch_size": 1.5}, InvalidOptionError, "batch_size must be a positive integer"),
        ({"token_budget": 0}, InvalidOptionError, "token_budget must be a positive integer"),
        ({"max_length": 0}, InvalidOptionError, "max_length must be an integer from 1 to 8192"),
        ({"max_length": 9000}, InvalidOptionError, "from 1 to 8192; got 9000"),
        ({"query_max_length": None}, InvalidOptionError, "query_max_length must be an integer"),
        ({"chunk_size": 0}, InvalidRatioError, "must be a positive integer or None; got 0"),
        ({"chunk_size": "four"}, InvalidRatioError, "got 'four'"),
        ({"dtype": "int8"}, InvalidOptionError, "dtype must be one of"),
        ({"device": "warp"}, InvalidOptionError, "device must be a PyTorch device"),
        ({"deterministic": "no"}, InvalidOptionError, "deterministic must be True or False"),
        ({"special_tokens": "drop"}, InvalidOptionError, "special_tokens must be one of"),
        ({"system_instruction": 3}, TextTypeError, "system_instruction must be a string"),
    ],
)
def test_bad_settings(options, error, message):
    with pytest.raises(error, match=message):
        KaLMReranker("pico", **options)


def test_unknown_models(tmp_path):
    with pytest.raises(CheckpointNotFoundError, match="nan0"):
        KaLMReranker("nan0")
    with pytest.raises(InvalidCheckpointError, match="no complete checkpoint"):
        KaLMReranker(tmp_path)


@pytest.fixture(scope="module")
def tiny(tmp_path_factory):
    return build_checkpoint(tmp_path_factory.mktemp("tiny") / "tiny", **TINY)


def test_another_architecture(tiny, tmp_path):
    other = copy_with(tiny, tmp_path / "x", config=lambda c: {**c, "model_type": "t5"})
    with pytest.raises(InvalidCheckpointError, match=r"must be 't5gemma2' .*; got 't5'"):
        KaLMReranker(other)


def test_files_replaced_after_loading_cannot_lend_their_fingerprint(tiny, tmp_path):
    directory = copy_with(tiny, tmp_path / "x")
    reranker = KaLMReranker(directory)
    build_checkpoint(directory, seed=9, **TINY)
    with pytest.raises(InvalidCheckpointError, match="changed since the model was loaded"):
        reranker.encode(["a document"])
    reranker.predict([("q", "d")])  # needs no fingerprint


def test_touching_files_after_loading_is_harmless(tiny, tmp_path):
    directory = copy_with(tiny, tmp_path / "x")
    reranker = KaLMReranker(directory)
    (directory / "config.json").chmod(0o600)
    assert len(reranker.encode(["a document"])) == 1


def test_states_remember_how_special_tokens_were_read_and_are_scored_either_way(pico):
    states = KaLMReranker("pico", special_tokens="text").encode(["a <bos> b"])
    assert states.provenance.special_tokens == "text"
    assert len(pico.score("q", states)) == 1


def test_states_of_another_width_are_refused(pico):
    states = pico.encode(["a"])
    states.slots = states.slots[:, :10]
    with pytest.raises(StatesMismatchError, match="have width 10; this model has 256"):
        pico.score("q", states)


def test_truncated_weights(tiny, tmp_path):
    other = copy_with(tiny, tmp_path / "x")
    weights = other / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:-1])
    with pytest.raises(InvalidCheckpointError, match="cannot be read as safetensors"):
        KaLMReranker(other)


def test_float16_overflow_is_an_error_not_a_score(tiny, tmp_path):
    def loud(tensors):
        name = "model.decoder.layers.1.mlp.down_proj.weight"
        return {**tensors, name: tensors[name] * 1e5}

    other = copy_with(tiny, tmp_path / "x", tensors=loud)
    KaLMReranker(other, dtype="float32").predict([("q", "d")])
    with pytest.raises(
        NonFiniteScoreError, match=r"1 of 1 pairs in a batch \(first: pair 0\) in float16"
    ):
        KaLMReranker(other, dtype="float16").predict([("q", "d")])


def test_damaged_states_are_an_error_not_a_score(pico):
    states = pico.encode(["one", "two"])
    states.slots[-1, 0] = torch.nan
    with pytest.raises(NonFiniteScoreError, match=r"1 of 2 pairs in a batch \(first: pair 1\)"):
        pico.score("q", states)


def test_numbers_of_any_integer_type_are_numbers():
    reranker = KaLMReranker("pico", batch_size=np.int64(4), chunk_size=np.int32(4))
    assert len(reranker.rank("q", ["a", "b"], top_k=np.int64(1))) == 1


@pytest.mark.parametrize("ratio", [10**6, 10**12, 10**30])
def test_any_ratio_is_possible(pico, ratio):
    states = pico.encode(["a", "b c d"])
    expected = pico.predict([("q", "a"), ("q", "b c d")], compression_ratio=ratio)
    assert pico.score("q", states, compression_ratio=ratio) == pytest.approx(expected, abs=0.01)
    assert states.repool(ratio).slot_counts == (1, 1)


ODD_DOCUMENTS = {
    "empty": "",
    "white space": " \n\t ",
    "NUL and control characters": "a\x00b\x07\x1b[31mc\x7f",
    "emoji and right-to-left": "😀 \u202eabc שלום",
    "private use and non-characters": "\ue000 \uffff \U0010ffff",
    "special tokens": "<bos><start_of_turn><end_of_turn><pad><eos><unk>",
    "one long word": "x" * 50_000,
}


@pytest.mark.parametrize("name", ODD_DOCUMENTS)
def test_odd_documents_have_a_score_like_any_other(pico, name):
    (score,) = pico.predict([("What is it?", ODD_DOCUMENTS[name])])
    assert 0.0 <= score <= 1.0


def test_odd_queries_have_a_score_like_any_other(pico):
    for query in ("\x00", "😀", "<end_of_turn>", "x" * 10_000):
        (score,) = pico.predict([(query, "a document")])
        assert 0.0 <= score <= 1.0


def test_a_megabyte_of_text_is_cut_and_reported(pico):
    document = "The capital of China is Beijing. " * 32_000
    assert len(document) > 1e6
    states = pico.encode([document, "short"])
    assert states.truncated == (True, False)
    assert states.token_counts[0] == pico.options.max_length
