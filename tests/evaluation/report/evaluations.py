"""Evaluations as they come out of real runs, made up but of the right size and shape."""

import math
import random
from dataclasses import replace
from itertools import pairwise

from kalm_reranker.evaluation.results import (
    Comparison,
    DatasetInfo,
    Evaluation,
    Measurement,
    OnlineCost,
    RankerInfo,
    ScoreDistribution,
)
from kalm_reranker.machine import Machine

MACHINE = Machine(
    cpu="AMD EPYC 9B14",
    cpu_features=["avx2", "avx512f", "avx512_bf16"],
    cores=2,
    torch_threads=1,
    memory_gb=16.4,
    gpu=None,
    system="Linux x86_64",
    python="3.12.3",
    torch="2.13.0",
    numpy="2.3.1",
    transformers=None,
    kalm_reranker="0.1.0",
)
SETS = {
    **{"cisi": 0.3568, "cosqa": 0.3543, "cranfield": 0.3561, "dbpedia-entity": 0.3703},
    **{"hotpotqa": 0.7666, "locomo": 0.4521, "scifact": 0.6813, "squad-en": 0.8513},
    **{"xquad-ar": 0.9042, "xquad-de": 0.9085, "xquad-el": 0.8909, "xquad-es": 0.9373},
    **{"xquad-hi": 0.9509, "xquad-ro": 0.9014, "xquad-ru": 0.8065, "xquad-th": 0.9623},
    **{"xquad-tr": 0.8854, "xquad-vi": 0.9335, "xquad-zh": 0.9545},
}
MEASURES = ("nDCG@10", "RR@10", "AP", "R@100", "ROC-AUC")
BM25 = "bm25s, k1 0.9, b 0.4, Snowball stemmer and 33 stop words for English, top 100"


def kalm(model, ratio, codec="bfloat16", *, name=None, kind="kalm"):
    return RankerInfo(
        name=name or f"{model} r={ratio}",
        kind=kind,
        model=model,
        compression_ratio=ratio,
        codec=codec,
        settings={"fingerprint": "3f1c09ae77b0", "dtype": "bfloat16", "max_length": 512},
    )


def cascade(model, coarse, fine, count):
    return RankerInfo(
        name=f"{model} {coarse}:{fine}:{count}",
        kind="cascade",
        model=model,
        compression_ratio=fine,
        codec="bfloat16",
        coarse_ratio=coarse,
        fine_count=count,
        settings={"fingerprint": "3f1c09ae77b0"},
    )


def first_stage():
    return RankerInfo(name="BM25", kind="first stage", settings={"k1": 0.9, "b": 0.4})


def pico_rankers():
    """BM25, pico at six ratios, four blends and a cascade: twelve."""
    ratios = (1, 2, 4, 8, 16, 32)
    blends = [kalm("pico", r, name=f"BM25 + pico r={r}", kind="blend") for r in (1, 2, 4, 8)]
    return [first_stage(), *(kalm("pico", r) for r in ratios), *blends, cascade("pico", 16, 2, 30)]


def few_rankers():
    """One of each kind that has a part of the report to itself."""
    blend = kalm("pico", 2, name="BM25 + pico r=2", kind="blend")
    plain = cascade("pico", 8, 2, 30)
    blended = replace(plain, name="BM25 + pico 8:2:30", kind="blend")
    return [first_stage(), kalm("pico", 2), kalm("pico", 8), blend, plain, blended]


def many_rankers():
    """Three models, two codecs, blends, cascades and peers: more than thirty."""
    rankers = [first_stage()]
    for model in ("nano", "small", "large"):
        for codec in ("bfloat16", "int8"):
            rankers += [
                kalm(model, r, codec, name=f"{model} {codec} r={r}") for r in (2, 8, 32, 128)
            ]
        rankers += [cascade(model, 32, 2, count) for count in (10, 30)]
    rankers.append(kalm("small", 2, name="BM25 + small r=2", kind="blend"))
    for name, kind in (
        ("cross-encoder/ms-marco-MiniLM-L6-v2", "cross-encoder"),
        ("BAAI/bge-reranker-v2-m3", "cross-encoder"),
        ("sentence-transformers/all-MiniLM-L6-v2", "embedding"),
        ("lightonai/GTE-ModernColBERT-v1", "late interaction"),
        ("runs/splade-v3.trec", "run"),
    ):
        rankers.append(RankerInfo(name=name, kind=kind, model=name, settings={}))
    return rankers


def histogram(rng, shift, edges=21):
    bounds = [-10 + 20 * at / (edges - 1) for at in range(edges)]
    middle = [(low + high) / 2 for low, high in pairwise(bounds)]
    return ScoreDistribution(
        edges=tuple(bounds),
        relevant=tuple(
            int(60 * math.exp(-((x - shift) ** 2) / 8)) + rng.randrange(2) for x in middle
        ),
        other=tuple(int(900 * math.exp(-((x + 3) ** 2) / 10)) for x in middle),
    )


def measured(rng, dataset, base, info, *, costs=True, scores=True):
    ratio = info.compression_ratio or 1
    size = {"nano": 0.02, "small": 0.05, "large": 0.08}.get(info.model or "", -0.2)
    offset = {
        "first stage": 0.0,
        "kalm": size - 0.02 * math.log2(ratio),
        "blend": 0.012 - 0.003 * math.log2(ratio),
        "cascade": size - 0.03 + 0.0004 * (info.fine_count or 0),
        "cross-encoder": 0.04,
        "embedding": -0.03,
        "late interaction": 0.02,
        "run": 0.01,
    }[info.kind]
    quality = min(max(base + offset + rng.uniform(-0.015, 0.015), 0.02), 0.99)
    measures = {
        "nDCG@10": quality,
        "RR@10": min(quality * 1.03, 1.0),
        "AP": quality * 0.8,
        "R@100": 0.91 + base / 12,
    }
    num_bytes = ms = distribution = None
    stored = info.kind in ("kalm", "blend", "cascade", "embedding", "late interaction")
    if scores and info.kind != "run":
        measures["ROC-AUC"] = min(0.62 + quality / 3, 0.99)
        distribution = histogram(rng, 4 - math.log2(ratio) / 2)
    if costs:
        width = {"nano": 640, "small": 1024, "large": 2048}.get(info.model or "", 256)
        if stored:
            num_bytes = 380 / ratio * width * (1 if info.codec == "int8" else 2)
        factor = width / 256
        ms = {
            "kalm": factor * (210 + 130 / ratio),
            "blend": factor * (212 + 130 / ratio),
            "cascade": factor * (150 + (info.fine_count or 0)),
            "cross-encoder": 5400.0,
            "embedding": 1.9,
            "late interaction": 31.0,
        }.get(info.kind)
    return Measurement(
        dataset=dataset,
        ranker=info.name,
        measures=measures,
        distribution=distribution,
        bytes_per_passage=num_bytes,
        ms_per_query=ms,
        seconds={"encode": 12.5, "score": 30.25},
    )


def compared(rng, dataset, info, base, difference):
    half = 0.008 + 0.02 * rng.random()
    return Comparison(
        dataset=dataset,
        ranker=info.name,
        baseline="BM25",
        measure="nDCG@10",
        difference=difference,
        low=difference - half,
        high=difference + half,
        p_value=min(1.0, math.exp(-2.2 * abs(difference) / half)),
        test="paired bootstrap, 10,000 samples",
        wins=48,
        losses=31,
        num_queries=100,
    )


def online(models=("pico",), dataset="scifact"):
    rows = []
    for model in models:
        for way, level in (("stored", 0.021), ("prefix cached", 0.014), ("encoded", 1.0)):
            for ratio in (1, 2, 4, 8, 16, 32):
                if way == "encoded" and ratio != 2:
                    continue
                part = level if way == "encoded" else level * (1 + 1.4 / ratio)
                rows.append(
                    OnlineCost(
                        dataset=dataset,
                        model=model,
                        way=way,
                        compression_ratio=ratio,
                        num_candidates=99.7,
                        passage_tokens=331.5,
                        query_tokens=61.2,
                        measured_ms=9100 * part,
                        analytic=0.55 if way == "encoded" else 0.03 + 0.2 / ratio,
                        measured=part,
                    )
                )
    return tuple(rows)


def evaluation(rankers=None, sets=None, *, costs=True, scores=True, compare=True, seed=7):
    rng = random.Random(seed)
    rankers = pico_rankers() if rankers is None else rankers
    sets = SETS if sets is None else sets
    measurements, comparisons = [], []
    for dataset, base in sets.items():
        first = None
        for info in rankers:
            one = measured(rng, dataset, base, info, costs=costs, scores=scores)
            measurements.append(one)
            first = first or one
            if compare and one is not first:
                difference = one.measures["nDCG@10"] - first.measures["nDCG@10"]
                comparisons.append(compared(rng, dataset, info, base, difference))
    return Evaluation(
        settings={
            "command": "kalm eval data/* --model pico --ratios 1,2,4,8,16,32 --cascade 16:2:30",
            "ratios": [1, 2, 4, 8, 16, 32],
            "depth": 100,
            "baseline": "BM25" if compare else None,
        },
        machine=MACHINE,
        first_stage=BM25,
        datasets=tuple(
            DatasetInfo(
                name=name,
                source=f"data/{name}",
                split="test",
                instruction=None if at % 3 else "Retrieve passages that answer the question",
                num_passages=5183,
                num_queries=300,
                num_candidates=29_912,
                num_candidate_passages=4_620,
                notes=("2 queries without judgements were dropped.",) if at % 5 == 0 else (),
            )
            for at, name in enumerate(sets)
        ),
        rankers=tuple(rankers),
        measurements=tuple(measurements),
        comparisons=tuple(comparisons),
        costs=online() if costs else (),
        notes=("Queries without a relevant passage are left out; gains are linear.",),
    )


def without(found, dataset, ranker):
    """The same, as if one ranker had not been run on one set."""
    kept = [one for one in found.measurements if (one.dataset, one.ranker) != (dataset, ranker)]
    compared = [one for one in found.comparisons if (one.dataset, one.ranker) != (dataset, ranker)]
    return replace(found, measurements=tuple(kept), comparisons=tuple(compared))
