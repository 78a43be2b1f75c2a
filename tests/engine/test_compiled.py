"""Compiled execution: fixed shapes change nothing, and nothing compiles unsaid."""

import logging
import os
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch

from kalm_reranker import KaLMReranker
from kalm_reranker.engine.batches import PairBatch, prepare
from kalm_reranker.engine.compiled import CompilerWatch, fixed_shape, keep_compiled_code
from kalm_reranker.engine.eager import EagerForward
from kalm_reranker.errors import EngineError, InvalidOptionError
from tests.parity.pairs import QUERIES, documents

CPU = torch.device("cpu")
needs_a_compiler = pytest.mark.skipif(
    shutil.which("g++") is None and shutil.which("clang++") is None,
    reason="PyTorch compiles CPU code with a C++ compiler; there is none",
)


@pytest.fixture(scope="module")
def reranker() -> KaLMReranker:
    return KaLMReranker("pico", dtype="float32", engine="eager")


@pytest.mark.parametrize("lengths", [(20, 20, 20), (3, 60, 33), (200,)])
def test_batches_of_fixed_shape_have_the_same_logits(reranker, lengths):
    pipeline = reranker._pipeline
    states = reranker.encode([" ".join(["word"] * length) for length in lengths])
    prompts = [pipeline.prompt(query, "Find it.") for query in QUERIES[:2]]
    pairs = [(prompt, passage) for prompt in (0, 1) for passage in range(len(lengths))]
    forward = EagerForward(pipeline.model, pipeline.tokenizer.yes_id, pipeline.tokenizer.no_id)
    batch = prepare(prompts, states, pairs, device=CPU, dtype=torch.float32)
    wide = fixed_shape(batch)
    count = len(pairs)
    assert wide.prompt_ids.shape[0] == 1 << (count - 1).bit_length()
    assert wide.prompt_ids.shape[1] % 8 == 0
    assert wide.context.num_keys % 64 == 0
    assert fixed_shape(wide).prompt_ids.shape == wide.prompt_ids.shape
    with torch.inference_mode():
        torch.testing.assert_close(forward(wide)[:count], forward(batch), atol=2e-5, rtol=0)


def test_cached_batches_of_fixed_shape_have_the_same_logits(reranker):
    pipeline = reranker._pipeline
    states = reranker.encode(documents(5))
    prompt = pipeline.prompt(QUERIES[0], "Find it.")
    assert prompt.prefix
    forward = EagerForward(pipeline.model, pipeline.tokenizer.yes_id, pipeline.tokenizer.no_id)
    ids = torch.tensor(prompt.rest).expand(len(states), -1)
    last = torch.full((len(states),), ids.shape[1] - 1)
    with pipeline.cache.context(prompt.prefix, states.identities, states.slots_of) as context:
        batch = PairBatch(ids, last, context)
        wide = fixed_shape(batch)
        assert wide.context.num_prompt_tokens == len(prompt.prefix)
        with torch.inference_mode():
            expected = forward(batch)
            torch.testing.assert_close(forward(wide)[: len(states)], expected, atol=2e-5, rtol=0)


def test_an_unknown_context_is_refused():
    class Other:
        num_keys = 3

    batch = PairBatch(
        torch.zeros(1, 4, dtype=torch.long), torch.zeros(1, dtype=torch.long), Other()
    )
    with pytest.raises(TypeError, match="Other"):
        fixed_shape(batch)


def test_compiled_code_is_kept_where_the_user_says(monkeypatch, tmp_path):
    monkeypatch.setenv("TORCHINDUCTOR_CACHE_DIR", "mine")
    assert keep_compiled_code() == Path("mine")
    monkeypatch.delenv("TORCHINDUCTOR_CACHE_DIR")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    assert keep_compiled_code() == tmp_path / "kalm-reranker/compiled"
    assert os.environ["TORCHINDUCTOR_CACHE_DIR"] == str(tmp_path / "kalm-reranker/compiled")


def test_errors_of_the_compiler_are_ours():
    class BackendCompilerFailed(RuntimeError):
        __module__ = "torch._dynamo.exc"

    with pytest.raises(EngineError, match="cannot run here: no compiler Hint") as raised:
        with CompilerWatch(False, print)():
            raise BackendCompilerFailed("no compiler\nand a long story")
    assert "C++ compiler" in str(raised.value.hint)
    with pytest.raises(RuntimeError, match="another"), CompilerWatch(False, print)():
        raise RuntimeError("another")


def test_int8_weights_are_not_compiled():
    with pytest.raises(InvalidOptionError, match="engine 'compiled' has float weights"):
        KaLMReranker("pico", dtype="float32", engine="compiled", quantization="int8")


@pytest.mark.slow
@needs_a_compiler
@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_compiled_margins_and_what_is_said(monkeypatch, tmp_path, caplog, dtype):
    monkeypatch.setenv("TORCHINDUCTOR_CACHE_DIR", str(tmp_path))
    torch._dynamo.reset()
    compiled = KaLMReranker("pico", dtype=dtype, engine="compiled")
    plain = KaLMReranker("pico", dtype=dtype, engine="eager")
    tolerance = 1e-4 if dtype == "float32" else 0.1
    texts = [*documents(6), *documents(2, longest=150)]
    with caplog.at_level(logging.WARNING, logger="kalm_reranker"):
        assert compiled.warm_up(num_candidates=8) > 0
        assert "in a request" not in caplog.text
        states = compiled.encode(texts)
        for query in QUERIES[:3]:
            got = [pair.margin for pair in compiled.score(query, states, return_margin=True)]
            expected = [pair.margin for pair in plain.score(query, states, return_margin=True)]
            np.testing.assert_allclose(got, expected, atol=tolerance)
            got = [
                pair.margin
                for pair in compiled.predict([(query, t) for t in texts], return_margin=True)
            ]
            np.testing.assert_allclose(got, expected, atol=tolerance)
        assert "in a request" not in caplog.text
        assert compiled.stats.as_dict()["compiled_in_requests"] == 0
    assert any(tmp_path.iterdir())


@pytest.mark.slow
@needs_a_compiler
def test_compiling_in_a_request_is_said_and_counted(monkeypatch, tmp_path, caplog):
    monkeypatch.setenv("TORCHINDUCTOR_CACHE_DIR", str(tmp_path))
    torch._dynamo.reset()
    compiled = KaLMReranker("pico", dtype="float32", engine="compiled")
    with caplog.at_level(logging.WARNING, logger="kalm_reranker"):
        compiled.predict([(QUERIES[0], text) for text in documents(3)])
    assert "functions in a request; call warm_up()" in caplog.text
    assert compiled.stats.as_dict()["compiled_in_requests"] == 2  # encoder, then decoder


@pytest.mark.slow
@needs_a_compiler
def test_requests_of_every_kind_can_be_compiled_in_one_process(monkeypatch, tmp_path):
    # PyTorch compiles a function for eight kinds of arguments, and then no more.
    monkeypatch.setenv("TORCHINDUCTOR_CACHE_DIR", str(tmp_path))
    torch._dynamo.reset()
    mixed = documents(5)
    for dtype, tolerance in (("float32", 1e-4), ("bfloat16", 0.1)):
        compiled = KaLMReranker("pico", dtype=dtype, engine="compiled")
        plain = KaLMReranker("pico", dtype=dtype, engine="eager")
        for texts in (mixed, mixed[:1]):
            states, texts_alone = compiled.encode(texts), [(QUERIES[0], text) for text in texts]
            expected = [pair.margin for pair in plain.predict(texts_alone, return_margin=True)]
            for got in (
                compiled.score(QUERIES[0], states, return_margin=True),
                compiled.predict(texts_alone, return_margin=True),
            ):
                np.testing.assert_allclose([p.margin for p in got], expected, atol=tolerance)
