"""Online cost: what the formula says of a model's shape, and what is timed."""

import statistics

import pytest

from kalm_reranker.evaluation.cost import CACHED, ENCODED, STORED, analytic_share, online_costs
from kalm_reranker.evaluation.rankers.base import RankingTask
from kalm_reranker.evaluation.rankers.kalm import KaLMModel

PASSAGES = {f"p{n}": f"Passage {n} is about gravity. " * (n + 1) for n in range(4)}
QUERIES = {"q1": "gravity", "none": "nothing", "q2": "what attracts the bodies"}


@pytest.fixture
def model(pico, tmp_path):
    model = KaLMModel(pico, "pico", [16, 4])
    model.prepare(
        RankingTask(
            dataset="toy",
            instruction=None,
            passages=PASSAGES,
            queries=QUERIES,
            candidates={
                "q1": dict.fromkeys(PASSAGES, 1.0),
                "none": {},
                "q2": {"p0": 1.0, "p1": 1.0},
            },
            folder=tmp_path,
        )
    )
    yield model
    model.close()


def test_every_way_and_ratio_has_a_row(model, pico):
    told = []
    rows = online_costs(model, 2, on_query=told.append)
    assert [(row.way, row.compression_ratio) for row in rows] == [
        (ENCODED, 4),
        *((way, ratio) for ratio in (4, 16) for way in (STORED, CACHED)),
    ]
    assert sum(told) == 3 + 3
    by_way = {(row.way, row.compression_ratio): row for row in rows}
    counts = model.states.token_counts()
    prompts = [pico.count_prompt_tokens(QUERIES[key], None) for key in ("q1", "q2")]
    for row in rows:
        assert (row.dataset, row.model, row.num_candidates) == ("toy", "pico", 3.0)
        assert row.passage_tokens == statistics.fmean(counts)
        assert row.measured == pytest.approx(row.measured_ms / by_way[ENCODED, 4].measured_ms)
        own = row.way == CACHED
        assert row.query_tokens == statistics.fmean(prompt[own] for prompt in prompts)
        assert (row.analytic is None) == (row.way != STORED)
    assert by_way[STORED, 16].analytic < by_way[STORED, 4].analytic < 1


def test_the_cross_encoder_it_is_held_against_has_the_layers_of_both_halves(model, pico):
    config = pico.config
    layers, width = config.decoder.num_layers, config.encoder.hidden_width
    length, query = 100.0, 50.0
    for ratio in (1, 4, 100):
        stored = layers * (query + length / ratio) * width * (width + query)
        both = layers + config.encoder.num_layers
        joint = both * (query + length) * width * (width + query + length)
        assert analytic_share(model, length, ratio, query) == pytest.approx(stored / joint)


def test_a_model_without_a_prefix_cache_has_no_such_row(model, monkeypatch):
    monkeypatch.setattr(type(model.reranker), "prefix_cache_stats", None)
    assert {row.way for row in online_costs(model, 1)} == {ENCODED, STORED}
