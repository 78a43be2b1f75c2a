"""Our wrappers against mteb's own wrapper of the official models, on the same checkpoint."""

import pytest

from kalm_reranker.checkpoints import resolve_checkpoint
from kalm_reranker.integrations.mteb_model import KaLMCrossEncoder
from kalm_reranker.integrations.mteb_search import KaLMSearch
from kalm_reranker.search.ranking import ranked_ids


@pytest.fixture(scope="module")
def official(mteb):
    from mteb.models.model_implementations.kalm_reranker import (
        KaLMRerankerWrapper,
        kalm_reranker_v1_nano,
    )

    checkpoint = resolve_checkpoint("pico")
    # pico's own prompt and lengths, which the official wrapper does not read from the checkpoint.
    settings = checkpoint.settings
    model = KaLMRerankerWrapper(
        str(checkpoint.directory),
        device="cpu",
        dtype="float32",
        chunk_size=settings.default_ratio,
        max_length=settings.max_length,
        query_max_length=settings.query_max_length,
        system_instruction=settings.system_instruction,
    )
    model.mteb_model_meta = kalm_reranker_v1_nano
    return model


@pytest.mark.parametrize("wrapper", [KaLMCrossEncoder, KaLMSearch])
@pytest.mark.parametrize("instructions", [False, True])
def test_scores_are_those_of_the_official_wrapper(
    wrapper, instructions, official, evaluate, make_task
):
    kind = "InstructionReranking" if instructions else "Reranking"
    theirs, their_run = evaluate(official, make_task(kind, instructions=instructions))
    model = wrapper("pico", dtype="float32", scores="probability")
    ours, our_run = evaluate(model, make_task(kind, instructions=instructions))
    for name, scores in their_run.items():
        assert our_run[name] == pytest.approx(scores, abs=1e-5, rel=1e-4)
        assert ranked_ids(our_run[name]) == ranked_ids(scores)
    assert ours["ndcg_at_10"] == theirs["ndcg_at_10"]
