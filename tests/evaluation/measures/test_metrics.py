import importlib
import math
import time

import pytest

from kalm_reranker.errors import InputError, InvalidOptionError, MissingExtraError
from kalm_reranker.evaluation.measures.metrics import (
    AP,
    MEASURES,
    NDCG_AT_10,
    RANKING_MEASURES,
    RECALL_AT_100,
    RR_AT_10,
    display_name,
    measure_all,
    measure_run,
)


def log_discount(rank):
    return 1 / math.log2(rank + 1)


def test_ndcg_by_hand():
    # Gains by rank: 1, 0, 2, unjudged; the ideal order is 2, 1, 1 (one relevant passage missed).
    qrels = {"q": {"a": 1, "b": 0, "c": 2, "missed": 1}}
    run = {"q": {"a": 9.0, "b": 8.0, "c": 7.0, "unjudged": 6.0}}
    gained = 1 * log_discount(1) + 2 * log_discount(3)
    ideal = 2 * log_discount(1) + 1 * log_discount(2) + 1 * log_discount(3)
    measured = measure_run(run, qrels)
    assert measured.measure == NDCG_AT_10
    assert measured.per_query == pytest.approx({"q": gained / ideal})
    assert measured.mean == pytest.approx(gained / ideal)


def test_ranks_after_the_tenth_do_not_count():
    scores = {f"p{rank:02}": float(-rank) for rank in range(1, 13)}
    assert measure_run({"q": scores}, {"q": {"p10": 1}}).mean == pytest.approx(log_discount(10))
    assert measure_run({"q": scores}, {"q": {"p11": 1}}).mean == 0


def test_negative_judgements_gain_nothing():
    measured = measure_run({"q": {"a": 2.0, "b": 1.0}}, {"q": {"a": -1, "b": 1}})
    assert measured.mean == pytest.approx(log_discount(2))


def test_ties_are_ordered_by_id():
    # trec_eval alone would put "b" before "a".
    run = {"q": {"b": 1.0, "a": 1.0}}
    assert measure_run(run, {"q": {"a": 1}}).mean == 1
    assert measure_run(run, {"q": {"b": 1}}).mean == pytest.approx(log_discount(2))


def test_scores_closer_than_float32_are_still_an_order():
    run = {"q": {"a": 1.0, "b": 1.0 + 1e-12}}
    assert measure_run(run, {"q": {"b": 1}}).mean == 1


def test_queries_without_results_count_as_zero():
    run = {"found": {"a": 1.0}, "nothing": {}, "unjudged": {"a": 1.0}}
    measured = measure_run(run, {"found": {"a": 1}, "nothing": {"a": 1}, "absent": {"a": 1}})
    assert measured.per_query == {"found": 1.0, "nothing": 0.0, "absent": 0.0}
    assert measured.mean == pytest.approx(1 / 3)


def test_recall_counts_what_the_first_hundred_hold():
    scores = {f"p{rank:03}": float(-rank) for rank in range(1, 121)}
    measured = measure_run({"q": scores}, {"q": {"p100": 1, "p101": 1}}, RECALL_AT_100)
    assert measured.mean == pytest.approx(0.5)


def test_reciprocal_rank_ends_at_the_tenth():
    scores = {f"p{rank:02}": float(-rank) for rank in range(1, 13)}
    assert measure_run({"q": scores}, {"q": {"p04": 2, "p07": 1}}, RR_AT_10).mean == 0.25
    assert measure_run({"q": scores}, {"q": {"p11": 1}}, RR_AT_10).mean == 0


def test_average_precision_divides_by_all_that_is_relevant():
    # Relevant at ranks 1 and 3, one more was not retrieved; relevance 2 counts like 1.
    run = {"q": {"a": 3.0, "b": 2.0, "c": 1.0}}
    measured = measure_run(run, {"q": {"a": 2, "b": 0, "c": 1, "missed": 1}}, AP)
    assert measured.mean == pytest.approx((1 / 1 + 2 / 3) / 3)


def test_all_measures_at_once_are_those_one_by_one():
    run = {"x": {"a": 1.0, "b": 1.0, "c": 0.5}, "y": {}, "unjudged": {"a": 1.0}}
    qrels = {"x": {"b": 2, "c": 1, "d": -1}, "y": {"a": 1}, "z": {"a": 1}}
    together = measure_all(run, qrels)
    assert list(together) == list(RANKING_MEASURES)
    for measure, measured in together.items():
        assert measured == measure_run(run, qrels, measure)
        assert list(measured.per_query) == ["x", "y", "z"]
        assert 0 < measured.per_query["x"] <= 1
        assert measured.per_query["y"] == measured.per_query["z"] == 0


def test_measures_at_once_are_fast():
    passages = [f"p{number}" for number in range(100)]
    run = {f"q{q}": {p: float(hash((q, p)) % 50) for p in passages} for q in range(500)}
    qrels = {query_id: {"p1": 1, "p2": 2} for query_id in run}
    measure_all({}, qrels)  # imports
    start = time.perf_counter()
    measure_all(run, qrels)
    assert time.perf_counter() - start < 3  # 0.2 s on an idle machine


def test_tables_name_means():
    assert [display_name(measure) for measure in MEASURES] == [
        *("nDCG@10", "MRR@10", "MAP", "R@100", "ROC-AUC")
    ]


def test_ids_may_be_any_text():
    run = {"問 1": {"пассаж один": 2.0, "two words": 1.0}}
    assert measure_run(run, {"問 1": {"пассаж один": 1}}).mean == 1


def test_unknown_measures_are_refused():
    with pytest.raises(
        InvalidOptionError, match="must be one of nDCG@10, RR@10, AP, R@100; got 'P@5'"
    ):
        measure_run({"q": {"a": 1.0}}, {"q": {"a": 1}}, "P@5")


def test_roc_auc_is_said_to_be_elsewhere():
    with pytest.raises(InvalidOptionError, match="computed by `roc_auc`"):
        measure_run({"q": {"a": 1.0}}, {"q": {"a": 1}}, "ROC-AUC")


def test_a_relevance_that_would_fill_memory_is_refused():
    # trec_eval takes 24 GB for this one.
    with pytest.raises(InputError, match="at most 1,000,000; query 'q' has 3000000000"):
        measure_run({"q": {"a": 1.0}}, {"q": {"a": 3_000_000_000}})


def test_a_very_negative_relevance_gains_nothing():
    measured = measure_run({"q": {"a": 2.0, "b": 1.0}}, {"q": {"a": -(10**20), "b": 1}})
    assert measured.mean == pytest.approx(log_discount(2))


def test_no_judgements_are_refused():
    with pytest.raises(InvalidOptionError, match="at least one judged query; got none"):
        measure_run({"q": {"a": 1.0}}, {})


def test_nan_is_refused():
    with pytest.raises(InputError, match="score of passage 'a' is NaN"):
        measure_run({"q": {"a": math.nan}}, {"q": {"a": 1}})


def test_a_missing_extra_names_the_install_command(monkeypatch):
    def find_nothing(name, *args, **kwargs):
        if name == "ir_measures":
            raise ModuleNotFoundError(f"No module named {name!r}", name=name)
        return real_import(name, *args, **kwargs)

    real_import = importlib.import_module
    monkeypatch.setattr("kalm_reranker.extras.import_module", find_nothing)
    with pytest.raises(MissingExtraError, match=r'pip install "kalm-reranker\[eval\]"'):
        measure_run({"q": {"a": 1.0}}, {"q": {"a": 1}})
