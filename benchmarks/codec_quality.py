r"""Bytes and ranking quality of every codec at every compression ratio, from real stores.

    python benchmarks/codec_quality.py FOLDER/scifact FOLDER/cranfield FOLDER/xquad-zh \
        --max-queries 40

Passages are encoded once for each set, at the greatest common divisor of the ratios. One store
per codec holds these states, and every ratio is read from it as a search does. All rankings order
the same BM25 candidates. Changes of margins are from the float32 codec at the same ratio. States
that are bit for bit those of the float32 codec are not scored again (bf16, for a bfloat16 model).

With `--store-each-ratio` every ratio has stores of its own, whose states were quantised after
pooling; it is what an index made at that ratio holds.

At the end: states stored at the finest ratio and pooled again, against pooling the tokens' states
directly, in float32; the largest difference relative to the slot's largest value.
"""

import argparse
import math
import tempfile
from collections.abc import Callable, Sequence
from functools import partial
from itertools import islice
from pathlib import Path
from statistics import fmean
from typing import Any, get_args

import torch
from repooling import repooling_differences
from report import Report, positive, ratios, tell
from reranking import candidate_ids, rerank_from_states
from states_store import bytes_a_passage, read_states, store_states

from kalm_reranker import KaLMReranker, PassageStates
from kalm_reranker.evaluation.data.beir import load_beir
from kalm_reranker.evaluation.data.collection import Collection
from kalm_reranker.evaluation.measures.metrics import measure_run
from kalm_reranker.search.bm25 import BM25FirstStage
from kalm_reranker.search.fusion import blend_runs
from kalm_reranker.search.ranking import Run
from kalm_reranker.store.codecs import CodecName

CODECS: tuple[str, ...] = get_args(CodecName)
REFERENCE = "float32"
Row = dict[str, Any]


def main(arguments: list[str] | None = None) -> None:
    """Measures every set and prints the tables."""
    options = parse(arguments)
    report = Report(vars(options), options.output)
    given = {"device": options.device, "dtype": options.dtype}
    given = {name: value for name, value in given.items() if value is not None}
    reranker = KaLMReranker(options.model, **given)
    sets = {}
    for directory in options.sets:
        collection = load_beir(directory)
        if options.max_queries is not None:
            collection = collection.first_queries(options.max_queries)
        say = partial(say_of, collection.name)
        sets[collection.name] = measured = run_set(reranker, collection, options, say)
        title = (
            f"{collection.name}: {measured['queries']} queries, {measured['encoded']} passages of "
            f"{measured['tokens_a_passage']:.0f} tokens encoded, BM25 top-{options.top_k} "
            f"{measured['bm25_ndcg_at_10']:.4f}"
        )
        show(report, title, measured["rows"])
    mean = means([measured["rows"] for measured in sets.values()])
    if len(sets) > 1:
        show(report, f"mean of {len(sets)} sets", mean)
    if options.repool_passages:
        repooling = measure_repooling(options, report)
    else:
        repooling = None
    report.finish(
        {
            "model": options.model,
            "dtype": reranker.provenance.dtype,
            "sets": sets,
            "mean": mean,
            "repooling": repooling,
        }
    )


def parse(arguments: list[str] | None) -> argparse.Namespace:
    """Returns the checked command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("sets", nargs="+", type=Path, help="BEIR directories")
    parser.add_argument("--model", default="pico", help="name, directory or hub id")
    parser.add_argument("--ratios", type=ratios, default=[2, 4, 8, 16, 32])
    parser.add_argument("--max-queries", type=positive, help="first queries of each set; all")
    parser.add_argument("--top-k", type=positive, default=100, help="BM25 candidates of a query")
    parser.add_argument("--store-each-ratio", action="store_true")
    parser.add_argument(
        "--repool-passages",
        type=int,
        default=64,
        help="passages of the first set to compare pooling with; 0 leaves it out",
    )
    parser.add_argument("--device")
    parser.add_argument("--dtype")
    parser.add_argument("--output", type=Path, help="JSON file to write the numbers to")
    return parser.parse_args(arguments)


def run_set(
    reranker: KaLMReranker,
    collection: Collection,
    options: argparse.Namespace,
    say: Callable[[str], None],
) -> dict[str, Any]:
    """Returns the numbers of one collection."""
    candidates = BM25FirstStage(collection.passages).search(collection.queries, options.top_k)
    texts = {name: collection.passages[name] for name in candidate_ids(candidates)}
    say(f"{len(candidates)} queries, encoding {len(texts)} passages")
    base = math.gcd(*options.ratios)
    finest = reranker.encode(list(texts.values()), compression_ratio=base)
    measure = Measure(reranker, collection, candidates, list(texts))
    rows: list[Row] = []
    with tempfile.TemporaryDirectory(prefix="kalm-bench-") as temporary:
        for codec in CODECS:
            for stored in options.ratios if options.store_each_ratio else [base]:
                folder = Path(temporary) / f"{codec}-{stored}"
                store = store_states(folder, reranker, texts, finest.repool(stored), codec)
                counts = store.counts()
                for ratio in [stored] if options.store_each_ratio else options.ratios:
                    states = read_states(store, reranker, list(texts), ratio)
                    row = {
                        "codec": codec,
                        "ratio": ratio,
                        "stored_ratio": stored,
                        "bytes_a_passage": bytes_a_passage(states, codec),
                        "stored_bytes_a_passage": bytes_a_passage(finest.repool(stored), codec),
                        "file_bytes_a_passage": counts.file_bytes / counts.num_passages,
                        **measure.row(ratio, states),
                    }
                    rows.append(row)
                    say(f"{codec} r={ratio}: {row['ndcg_at_10']:.4f}")
                store.close()
    return {
        "passages": len(collection.passages),
        "encoded": len(texts),
        "tokens_a_passage": fmean(finest.token_counts),
        "queries": len(candidates),
        "bm25_ndcg_at_10": measure_run(candidates, collection.qrels).mean,
        "rows": rows,
    }


class Measure:
    """Scores the candidates of a collection from states, and compares with the first codec.

    Args:
        reranker: The model.
        collection: Queries and judgements.
        candidates: First-stage run.
        passage_ids: Whose states they are.
    """

    def __init__(
        self,
        reranker: KaLMReranker,
        collection: Collection,
        candidates: Run,
        passage_ids: list[str],
    ) -> None:
        self._reranker = reranker
        self._collection = collection
        self._candidates = candidates
        self._passage_ids = passage_ids
        # ratio -> states and run of the first codec at it
        self._references: dict[int, tuple[PassageStates, Run]] = {}

    def row(self, ratio: int, states: PassageStates) -> Row:
        """Returns quality, alone and blended, and the changes of margins; the first is compared."""
        reference = self._references.get(ratio)
        if reference is not None and torch.equal(reference[0].slots, states.slots):
            run = reference[1]
        else:
            run = rerank_from_states(
                self._reranker,
                self._collection.queries,
                self._candidates,
                self._passage_ids,
                states,
            )
        if reference is None:
            self._references[ratio] = (states, run)
            reference = (states, run)
        changes = changes_of(run, reference[1])
        qrels = self._collection.qrels
        return {
            "ndcg_at_10": measure_run(run, qrels).mean,
            "blended_ndcg_at_10": measure_run(blend_runs(self._candidates, run), qrels).mean,
            "mean_change_of_margins": fmean(changes),
            "largest_change_of_margins": max(changes),
        }


def changes_of(run: Run, reference: Run) -> list[float]:
    """Returns how far each margin is from that of the reference."""
    return [
        abs(margin - reference[query][passage])
        for query, margins in run.items()
        for passage, margin in margins.items()
    ] or [0.0]


def means(sets: Sequence[Sequence[Row]]) -> list[Row]:
    """Returns rows with means over sets; the largest change is the largest of all."""
    rows = []
    for same in zip(*sets, strict=True):
        row: Row = {}
        for name, first in same[0].items():
            values = [other[name] for other in same]
            if name in ("codec", "ratio", "stored_ratio"):
                row[name] = first
            else:
                row[name] = max(values) if name.startswith("largest") else fmean(values)
        rows.append(row)
    return rows


def measure_repooling(options: argparse.Namespace, report: Report) -> dict[str, Any]:
    """Returns how far stored states pooled again are from those pooled directly."""
    first = load_beir(options.sets[0])
    texts = dict(islice(first.passages.items(), options.repool_passages))
    base = math.gcd(*options.ratios)
    tell(f"{first.name}: pooling the states of {len(texts)} passages")
    reranker = KaLMReranker(options.model, device=options.device, dtype="float32")
    wanted = [ratio for ratio in options.ratios if ratio != base]
    found = repooling_differences(reranker, texts, base, wanted)
    report.table(
        f"stored at ratio {base} and pooled again, against pooled directly: largest difference "
        f"relative to the slot's largest value ({len(texts)} passages of {first.name}, float32)",
        ["codec", *(f"r={ratio}" for ratio in wanted)],
        [[codec, *(f"{by[ratio]:.2g}" for ratio in wanted)] for codec, by in found.items()],
    )
    return {"set": first.name, "passages": len(texts), "stored_ratio": base, "largest": found}


def show(report: Report, title: str, rows: Sequence[Row]) -> None:
    """Prints one table of codecs and ratios."""
    report.table(
        title,
        [
            "codec, ratio",
            "stored at",
            "kB a passage",
            "of a store at that ratio",
            "nDCG@10",
            "BM25 + it",
            "mean change of margins",
            "largest",
        ],
        [
            [
                f"{row['codec']} r={row['ratio']}",
                str(row["stored_ratio"]),
                f"{row['stored_bytes_a_passage'] / 1e3:.2f}",
                f"{row['bytes_a_passage'] / 1e3:.2f}",
                f"{row['ndcg_at_10']:.4f}",
                f"{row['blended_ndcg_at_10']:.4f}",
                f"{row['mean_change_of_margins']:.4f}",
                f"{row['largest_change_of_margins']:.4f}",
            ]
            for row in rows
        ],
    )


def say_of(name: str, line: str) -> None:
    """Writes a line of progress of one set."""
    tell(f"{name}: {line}")


if __name__ == "__main__":
    main()
