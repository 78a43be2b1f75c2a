"""What truncation, windows and a longer limit find in long documents, and what each of them costs.

    python benchmarks/long_documents.py FOLDER/scifact

Documents are passages of a BEIR directory joined to many times the model's limit; a document is
relevant to a query if one of its passages is, wherever it stands. Every query ranks all of them,
by the reranker alone.
"""

import argparse
import random
import statistics
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from report import Report, tell

from kalm_reranker import KaLMReranker, PassageStates
from kalm_reranker.encoding.windows import num_windows
from kalm_reranker.evaluation.data.beir import load_beir
from kalm_reranker.evaluation.data.collection import Collection, Qrels
from kalm_reranker.evaluation.measures.metrics import measure_run


@dataclass(frozen=True, slots=True)
class LongDocuments:
    """Documents made of passages, by id, and what is relevant among them."""

    parts: dict[str, list[str]]
    queries: dict[str, str]
    qrels: Qrels


def main() -> None:
    """Prints a table, then a line of JSON."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("collection", type=Path)
    parser.add_argument("--model", default="pico")
    parser.add_argument("--queries", type=int, default=20)
    parser.add_argument("--documents", type=int, default=100)
    parser.add_argument("--parts", type=int, default=8, help="passages in a document")
    parser.add_argument("--dtype", default="float32")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--output", type=Path)
    options = parser.parse_args()
    report = Report(vars(options), options.output)
    collection = load_beir(options.collection)
    made = joined(collection, options.queries, options.documents, options.parts, options.seed)
    limit = KaLMReranker(options.model, dtype=options.dtype).options.max_length
    ways: dict[str, dict[str, Any]] = {
        f"truncate at {limit}": {"max_length": limit},
        f"windows of {limit}": {"max_length": limit, "long_documents": "windows"},
        f"windows of {limit // 2}": {"max_length": limit // 2, "long_documents": "windows"},
        f"truncate at {8 * limit}": {"max_length": 8 * limit},
    }
    rows: dict[str, dict[str, float]] = {}
    for way, settings in ways.items():
        tell(way)
        texts = {name: " ".join(parts) for name, parts in made.parts.items()}
        reranker = KaLMReranker(options.model, dtype=options.dtype, **settings)
        rows[way] = measured(reranker, texts, made)
    tell("passages")
    reranker = KaLMReranker(options.model, dtype=options.dtype)
    rows["its passages, each alone"] = measured_by_passage(reranker, made)
    report.table(
        f"{options.model}, {options.dtype}: {len(made.queries)} queries, {len(made.parts)} "
        f"documents of {options.parts} passages, {reranker.compression_ratio} tokens a state",
        ["documents", "nDCG@10", "tokens read", "kB a document", "encode s", "ms a query"],
        [
            [
                way,
                f"{row['ndcg_at_10']:.3f}",
                f"{row['num_tokens']:,.0f}",
                f"{row['kb_per_document']:,.0f}",
                f"{row['encode_s']:.1f}",
                f"{row['ms_per_query']:.0f}",
            ]
            for way, row in rows.items()
        ],
    )
    counts = {"num_documents": len(made.parts), "num_queries": len(made.queries)}
    report.finish({**counts, "rows": rows})


def joined(
    collection: Collection, num_queries: int, num_documents: int, num_parts: int, seed: int
) -> LongDocuments:
    """Makes long documents: each relevant passage is in one, at a random place among others.

    Args:
        collection: Where passages and judgements come from.
        num_queries: The first ones, in file order.
        num_documents: Documents wanted; more where the relevant passages need them.
        num_parts: Passages in a document.
        seed: Of everything random.
    """
    chosen = collection.first_queries(num_queries)
    wanted = {
        passage
        for judged in chosen.qrels.values()
        for passage, relevance in judged.items()
        if relevance > 0 and passage in collection.passages
    }
    rng = random.Random(seed)
    others = [passage for passage in collection.passages if passage not in wanted]
    rng.shuffle(others)
    parts: dict[str, list[str]] = {}
    home: dict[str, str] = {}  # passage -> its document
    relevant = sorted(wanted)
    for number in range(max(num_documents, len(relevant))):
        name = f"d{number}"
        has_one = number < len(relevant)
        ids = [others.pop() for _ in range(min(num_parts - has_one, len(others)))]
        if has_one:
            ids.insert(rng.randint(0, len(ids)), relevant[number])
            home[relevant[number]] = name
        if ids:
            parts[name] = [collection.passages[passage] for passage in ids]
    qrels = {
        query: {home[passage]: n for passage, n in judged.items() if n > 0 and passage in home}
        for query, judged in chosen.qrels.items()
    }
    return LongDocuments(parts, chosen.queries, qrels)


def measured(
    reranker: KaLMReranker, texts: Mapping[str, str], made: LongDocuments
) -> dict[str, float]:
    """Returns quality and cost of documents as a reranker reads them."""
    names = list(texts)
    states, encode_s = encoded(reranker, list(texts.values()))
    margins, ms = scored(reranker, made.queries, states)
    run = {query: dict(zip(names, row, strict=True)) for query, row in margins.items()}
    return _row(run, made, states, encode_s, ms)


def measured_by_passage(reranker: KaLMReranker, made: LongDocuments) -> dict[str, float]:
    """Returns the same of passages on their own; a document is worth its best one."""
    owners = [name for name, parts in made.parts.items() for _ in parts]
    states, encode_s = encoded(reranker, [text for parts in made.parts.values() for text in parts])
    margins, ms = scored(reranker, made.queries, states)
    run: dict[str, dict[str, float]] = {}
    for query, row in margins.items():
        best = run.setdefault(query, {})
        for name, margin in zip(owners, row, strict=True):
            best[name] = max(margin, best.get(name, margin))
    return _row(run, made, states, encode_s, ms)


def encoded(reranker: KaLMReranker, texts: Sequence[str]) -> tuple[PassageStates, float]:
    """Returns states, and the seconds they took."""
    start = time.perf_counter()
    states = reranker.encode(texts, show_progress=False)
    return states, time.perf_counter() - start


def scored(
    reranker: KaLMReranker, queries: Mapping[str, str], states: PassageStates
) -> tuple[dict[str, list[float]], float]:
    """Returns the margins of all passages by query, and the median milliseconds of a query.

    The first query is not counted: it fills the prefix cache.
    """
    margins, times = {}, []
    for query, text in queries.items():
        start = time.perf_counter()
        pairs = reranker.score(text, states, return_margin=True, show_progress=False)
        times.append(time.perf_counter() - start)
        margins[query] = [pair.margin for pair in pairs]
    return margins, 1e3 * statistics.median(times[1:] or times)


def _row(
    run: dict[str, dict[str, float]],
    made: LongDocuments,
    states: PassageStates,
    encode_s: float,
    ms: float,
) -> dict[str, float]:
    window = states.provenance.window
    windows = [num_windows(count, window) if window else 1 for count in states.token_counts]
    return {
        "ndcg_at_10": measure_run(run, made.qrels).mean,
        "num_tokens": sum(states.token_counts),
        "num_sequences": sum(windows),
        "num_truncated": sum(states.truncated),
        "kb_per_document": states.num_bytes / len(made.parts) / 1e3,
        "encode_s": encode_s,
        "ms_per_query": ms,
    }


if __name__ == "__main__":
    main()
