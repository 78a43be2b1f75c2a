"""Our numbers against independent implementations: ranx for ranks, scikit-learn for ROC-AUC.

ir-measures, which we call, hands most of its work to trec_eval; ranx shares no code with it.
The runs are BM25's on the demo collection, made awkward: scores rounded until they tie, candidates
and judgements removed, judgements graded and negative, queries without results, results without
judgements.
"""

import importlib
import random

import numpy as np
import pytest

from kalm_reranker.evaluation.data.bundled import load_demo_collection
from kalm_reranker.evaluation.measures.metrics import measure_all
from kalm_reranker.evaluation.measures.roc_auc import roc_auc
from kalm_reranker.search.bm25 import BM25FirstStage

CLOSE = 1e-6
RANX_NAMES = {"nDCG@10": "ndcg@10", "RR@10": "mrr@10", "AP": "map", "R@100": "recall@100"}


@pytest.fixture(scope="module")
def collection():
    return load_demo_collection()


@pytest.fixture(scope="module")
def bm25_run(collection):
    return BM25FirstStage(collection.passages).search(collection.queries, top_k=150)


def rounded(run, qrels, rng):
    """Scores of which most tie with others, on both sides of every cutoff."""
    coarse = {q: {p: float(round(score)) for p, score in found.items()} for q, found in run.items()}
    return coarse, qrels


def thinned(run, qrels, rng):
    """Candidates gone at random, relevant ones too."""
    kept = {
        q: {p: score for p, score in found.items() if rng.random() < 0.6}
        for q, found in run.items()
    }
    return kept, qrels


def graded(run, qrels, rng):
    """Relevances from -1 to 3 for what was found, of which a part was not judged at all."""
    judged = {
        q: {p: rng.choice([-1, 0, 0, 1, 2, 3]) for p in found if rng.random() < 0.3} | {"gone": 2}
        for q, found in run.items()
    }
    return run, judged


def with_holes(run, qrels, rng):
    """Queries without results, with an empty list of them, and results without judgements."""
    queries = sorted(run)
    kept = {q: found for q, found in run.items() if q not in queries[:5]}
    kept[queries[5]] = {}
    return kept, {q: judged for q, judged in qrels.items() if q not in queries[6:12]}


def everything(run, qrels, rng):
    for change in (graded, rounded, thinned, with_holes):
        run, qrels = change(run, qrels, rng)
    return run, qrels


def unchanged(run, qrels, rng):
    return run, qrels


CHANGES = [unchanged, rounded, thinned, graded, with_holes, everything]


@pytest.fixture(params=CHANGES, ids=lambda change: change.__name__)
def run_and_qrels(request, collection, bm25_run):
    return request.param(bm25_run, collection.qrels, random.Random(5))


@pytest.fixture(scope="module")
def ranx():
    """ranx without its compiler, which takes a minute before the first number."""
    from numba import config

    before = config.DISABLE_JIT
    config.DISABLE_JIT = True  # read when functions are defined, and where lists are made
    yield importlib.import_module("ranx")
    config.DISABLE_JIT = before


def best_first(found):
    return sorted(found, key=lambda passage_id: (-found[passage_id], passage_id))


def by_ranx(ranx, run, qrels):
    """Measure -> query id -> value, as ranx computes them, where both define them alike.

    What ranx is given differs from what we are given in three ways:
    - Equal scores: ranx leaves their order to its sort; ours is by id. It gets the ranks that
      follow from (score, id) as scores, so that there are no ties.
    - Missing queries: ranx refuses a run with other queries than the judgements. It gets the judged
      ones, and a single irrelevant result where there is none, which has no effect but 0.
    - Negative relevance: ranx subtracts such gains, trec_eval takes them as 0.
    """
    ordered = {}
    for query_id in qrels:
        found = run.get(query_id) or {"nothing was found": 0.0}
        ordered[query_id] = {p: float(-rank) for rank, p in enumerate(best_first(found))}
    clipped = {q: {p: max(0, r) for p, r in judged.items()} for q, judged in qrels.items()}
    their_run = ranx.Run(ordered)
    ranx.evaluate(ranx.Qrels(clipped), their_run, list(RANX_NAMES.values()))
    return {measure: dict(their_run.scores[name]) for measure, name in RANX_NAMES.items()}


def test_ranking_measures_are_those_of_ranx(ranx, run_and_qrels):
    run, qrels = run_and_qrels
    theirs = by_ranx(ranx, run, qrels)
    for measure, ours in measure_all(run, qrels).items():
        assert ours.per_query == pytest.approx(theirs[measure], abs=CLOSE)
        assert ours.mean == pytest.approx(np.mean(list(theirs[measure].values())), abs=CLOSE)


def test_the_awkward_run_is_awkward(collection, bm25_run):
    """What the comparison above rests on: ties, holes and grades do occur, and do matter."""
    run, qrels = everything(bm25_run, collection.qrels, random.Random(5))
    assert sum(len(set(found.values())) < len(found) / 4 for found in run.values()) > 20
    assert sum(not run.get(query_id) for query_id in qrels) == 6
    assert len(run.keys() - qrels.keys()) == 6
    assert {-1, 0, 1, 2, 3} <= {r for judged in qrels.values() for r in judged.values()}
    # With ties broken the other way round, many queries have other numbers.
    turned = {}
    for query_id, found in run.items():
        worst_first = best_first({p: -score for p, score in found.items()})
        turned[query_id] = {p: float(place) for place, p in enumerate(worst_first)}
    ours, others = measure_all(run, qrels), measure_all(turned, qrels)
    for measure in ("nDCG@10", "RR@10", "AP"):
        changed = [
            query_id
            for query_id, value in ours[measure].per_query.items()
            if abs(value - others[measure].per_query[query_id]) > 0.001
        ]
        assert len(changed) >= 10


def test_roc_auc_is_that_of_scikit_learn(run_and_qrels):
    from sklearn.metrics import roc_auc_score

    run, qrels = run_and_qrels
    labels, scores, means = [], [], []
    for query_id in qrels:
        found = run.get(query_id, {})
        mine = [qrels[query_id].get(passage_id, 0) > 0 for passage_id in found]
        labels += mine
        scores += found.values()
        if len(set(mine)) == 2:
            means.append(roc_auc_score(mine, list(found.values())))
    ours = roc_auc(run, qrels)
    assert ours.pooled == pytest.approx(roc_auc_score(labels, scores), abs=CLOSE)
    assert list(ours.per_query.values()) == pytest.approx(means, abs=CLOSE)
    assert ours.mean == pytest.approx(np.mean(means), abs=CLOSE)
