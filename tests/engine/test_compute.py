"""What runs the model can be replaced, and is asked for everything that the model does."""

import pytest
import torch

from kalm_reranker import KaLMReranker
from kalm_reranker.engine.compute import DirectCompute
from kalm_reranker.engine.prompt import Prompt
from tests.parity.random_checkpoints import TINY, build_checkpoint

DOCUMENTS = ["a river", "a copper mill by the river " * 4, ""]


@pytest.fixture(scope="module")
def reranker(tmp_path_factory):
    folder = build_checkpoint(tmp_path_factory.mktemp("tiny") / "tiny", **TINY)
    return KaLMReranker(folder, dtype="float32", max_length=64)


class Watched:
    """Passes on what it is asked for, and writes it down."""

    def __init__(self, compute):
        self.compute = compute
        self.asked = []

    def encode(self, passages, *args, **options):
        self.asked.append(("encode", len(passages)))
        return self.compute.encode(passages, *args, **options)

    def score(self, prompts, states, pairs, **options):
        self.asked.append(("score", len(pairs)))
        return self.compute.score(prompts, states, pairs, **options)


@pytest.fixture
def watched(reranker):
    pipeline = reranker.pipeline
    pipeline.compute = Watched(pipeline.direct)
    yield pipeline.compute
    pipeline.compute = pipeline.direct


def test_a_pipeline_computes_in_the_calling_thread_unless_told_otherwise(reranker):
    assert isinstance(reranker.pipeline.direct, DirectCompute)
    assert reranker.pipeline.compute is reranker.pipeline.direct


def test_everything_goes_through_what_was_put_there(reranker, watched):
    expected = KaLMReranker(reranker.checkpoint.directory, dtype="float32", max_length=64)
    pairs = [("rivers", text) for text in DOCUMENTS]
    assert reranker.predict(pairs) == expected.predict(pairs)
    states = reranker.encode(DOCUMENTS)
    assert reranker.score("rivers", states) == expected.score("rivers", expected.encode(DOCUMENTS))
    reranker.score_many([("rivers", states), ("mills", states[[0]])])
    # The last two requests share a batch.
    assert watched.asked == [*2 * [("encode", 3), ("score", 3)], ("score", 4)]


def test_so_does_the_first_run(reranker, watched):
    before = reranker.stats.as_dict()
    reranker.warm_up(num_candidates=3, num_queries=1)
    assert {kind for kind, _ in watched.asked} == {"encode", "score"}
    assert reranker.stats.as_dict() == before


def test_progress_is_told_batch_by_batch(reranker):
    told = []
    direct = reranker.pipeline.direct
    slots = direct.encode([[1] * 60] * 40, 4, store_on=torch.device("cpu"), on_progress=told.append)
    assert slots.shape == (40 * 15, reranker.width)
    assert sum(told) == 40
    assert len(told) > 1


def test_slots_come_one_passage_after_another(reranker):
    direct, cpu = reranker.pipeline.direct, torch.device("cpu")
    passages = [[5] * 9, [6] * 33, [7]]
    together = direct.encode(passages, 4, store_on=cpu)
    alone = [direct.encode([ids], 4, store_on=cpu) for ids in passages]
    assert [len(slots) for slots in alone] == [3, 9, 1]
    torch.testing.assert_close(together, torch.cat(alone), rtol=0, atol=1e-4)


def test_a_pairs_cost_is_what_the_decoder_reads(reranker):
    """Tokens and slots; where keys and values are kept, what is left of both."""
    scorer = reranker.pipeline.direct.scorer
    states = reranker.encode(DOCUMENTS)
    prompt = reranker.pipeline.prompt("rivers", reranker.default_instruction)
    whole = Prompt(prompt.ids)
    for passage, num_slots in enumerate(states.slot_counts):
        assert scorer.cost(whole, states, passage) == len(prompt.ids) + num_slots
        kept = scorer.cost(prompt, states, passage)
        assert len(prompt.rest) < kept < len(prompt.ids) + num_slots


def test_what_follows_a_prefix_is_always_the_same_object():
    prompt = Prompt(tuple(range(10)), prefix=(0, 1, 2))
    assert prompt.rest == (3, 4, 5, 6, 7, 8, 9)
    assert prompt.rest is prompt.rest
    assert Prompt((1, 2)).rest == (1, 2)
