"""`kalm serve` under load, on loopback: throughput, latency, fairness, right answers.

    python benchmarks/serving.py                                  # everything, some ten minutes
    python benchmarks/serving.py --parts small,large --rounds 1 --round-seconds 5
    python benchmarks/serving.py --parts mixed --seconds 600      # a long run

| part | what |
|---|---|
| `small` | five documents of 15 to 30 words, nearly all new: one client against `--clients` |
| `repeated` | the same requests again and again: nothing is encoded |
| `large` | small requests alone, and beside 500 documents of 200 words, one after the other |
| `mixed` | all sizes and shapes from `--clients` clients; all margins against `KaLMReranker`'s |
| `stored` | 100 passages of an index by id, as texts, and by search |
| `overload` | more clients than `--pending` requests |
| `abandoned` | `--clients` large requests whose clients leave: memory, and what comes next |

The server is a process of its own, with the machine's defaults; the clients are all in this one,
and what they cost is in the column of their cores. Variants take turns.
"""

import argparse
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from report import Report, positive, tell
from serving_abandoned import abandoned
from serving_equality import differences, own_spread
from serving_load import offer
from serving_overload import overload
from serving_server import Server, serving
from serving_stored import compare_stored
from serving_tables import table
from serving_texts import Texts
from serving_throughput import beside_large_requests, new_documents, repeated_documents

from kalm_reranker import KaLMReranker

PARTS = ("small", "repeated", "large", "mixed", "stored", "overload", "abandoned")
DTYPES = ("bfloat16", "float32")
# What is wanted.
MIN_SPEEDUP = 1.5
MAX_P99_RATIO = 3.0
_FEW_CLIENTS = (1, 8)  # beside large requests


def main(arguments: list[str] | None = None) -> None:
    """Runs the parts and prints."""
    options = _options(arguments)
    report = Report(vars(options), options.output)
    texts = Texts(options.seed)
    common = ["--model", options.model, *options.serve]
    results: dict[str, Any] = {}
    on_one_server = [part for part in options.parts if part in _ON_ONE_SERVER]
    if on_one_server:
        tell("starting a server")
        with serving(common) as server:
            results["start_s"] = server.start_s
            offer(server, texts.small, clients=options.clients, seconds=options.warm_up_seconds)
            for part in on_one_server:
                tell(part)
                results[part] = _ON_ONE_SERVER[part](server, texts, options, report)
    if "mixed" in options.parts:
        results["mixed"] = {
            dtype: _mixed(dtype, common, texts, options, report) for dtype in options.dtypes
        }
    if "stored" in options.parts:
        results["stored"] = _stored(options, report)
    if "overload" in options.parts:
        results["overload"] = _overload(common, texts, options, report)
    if "abandoned" in options.parts:
        results["abandoned"] = _abandoned(common, texts, options, report)
    report.finish(results)


def _small(
    server: Server, texts: Texts, options: argparse.Namespace, report: Report
) -> dict[str, Any]:
    found = new_documents(server, texts, clients=options.clients, **_turns(options))
    report.table("five short documents, nearly all new", *table(found["loads"]))
    tell(f"{found['speedup']:.2f} times as many; wanted: at least {MIN_SPEEDUP:g}")
    return found


def _repeated(
    server: Server, texts: Texts, options: argparse.Namespace, report: Report
) -> dict[str, Any]:
    found = repeated_documents(server, texts, clients=options.clients, **_turns(options))
    report.table("the same small requests again and again", *table(found["loads"]))
    tell(f"{found['speedup']:.2f} times as many; wanted: at least 1")
    return found


def _large(
    server: Server, texts: Texts, options: argparse.Namespace, report: Report
) -> dict[str, Any]:
    results = {}
    for clients in _FEW_CLIENTS:
        found = beside_large_requests(server, texts, clients=clients, **_turns(options))
        report.table(f"small requests, {clients} at a time", *table(found["loads"]))
        tell(f"p99 {found['p99_ratio']:.2f} times; wanted: at most {MAX_P99_RATIO:g}")
        results[f"{clients}_at_a_time"] = found
    return results


def _mixed(
    dtype: str, common: Sequence[str], texts: Texts, options: argparse.Namespace, report: Report
) -> dict[str, Any]:
    tell(f"mixed, {dtype}")
    with serving([*common, "--dtype", dtype]) as server:
        load = offer(
            server, texts.mixed, clients=options.clients, seconds=options.seconds, keep_answers=True
        )
    report.table(
        f"mixed requests, {options.clients} clients; statuses {load.statuses}",
        *table({dtype: load.summary()}),
    )
    answered = load.with_status(200)
    tell(f"comparing {len(answered)} answers with KaLMReranker's")
    reranker = KaLMReranker(options.model, dtype=dtype)
    compared = differences(answered, reranker)
    own = own_spread(answered, reranker, pairs=options.spread_pairs)
    rows = {
        "the server's": compared,
        "its own, each pair alone": own["alone"],
        "its own, from states at its ratio": own["states"],
    }
    report.table(
        f"how far margins are from KaLMReranker's, {dtype}",
        ["", "pairs", "at most", "p99", "mean"],
        [
            [name, f"{found['pairs']:,}", *(f"{found[key]:.2g}" for key in _MARGINS)]
            for name, found in rows.items()
        ],
    )
    for fault in compared["wrong"][:10]:
        tell(f"wrong: {fault}")
    return {
        **load.summary(),
        "statuses": load.statuses,
        "differences": compared,
        "own_spread": own,
    }


def _stored(options: argparse.Namespace, report: Report) -> dict[str, Any]:
    tell("stored")
    found = compare_stored(
        options.serve,
        model=options.model,
        queries=options.queries,
        candidates=options.candidates,
        passages=options.passages,
        seed=options.seed,
    )
    report.table(
        f"{found['candidates']} of {found['passages']} passages a request, one client; "
        f"PassageIndex.rerank in process: p50 {found['in_process_first_ms']:.0f} ms, "
        f"again {found['in_process_again_ms']:.0f} ms",
        *table(found["ways"]),
    )
    return found


def _overload(
    common: Sequence[str], texts: Texts, options: argparse.Namespace, report: Report
) -> dict[str, Any]:
    tell("overload")
    found = overload(
        common,
        texts,
        pending=options.pending,
        clients=options.pending * 8,
        seconds=options.round_seconds,
    )
    report.table(
        f"at most {found['pending']} pending requests; {found['refused']:,} got 429, "
        f"Retry-After {', '.join(found['retry_after']) or 'unknown'}",
        *table(
            {
                f"{found['pending']} clients": found["within"],
                f"{found['clients']} clients, what was not refused": found["above"],
            }
        ),
    )
    return found


def _abandoned(
    common: Sequence[str], texts: Texts, options: argparse.Namespace, report: Report
) -> dict[str, Any]:
    tell("abandoned")
    found = abandoned(common, texts, clients=options.clients, seconds=options.round_seconds)
    report.table(
        f"small requests, before and after {found['clients']} large ones that were left; these "
        f"held up to {found['held_peak_mb']:,.0f} MB, the first small one after them took "
        f"{found['first_ms']:.0f} ms",
        *table({name: found[name] for name in ("before", "after")}),
    )
    return found


_ON_ONE_SERVER = {"small": _small, "repeated": _repeated, "large": _large}
_MARGINS = ("margin_max", "margin_p99", "margin_mean")


def _turns(options: argparse.Namespace) -> dict[str, Any]:
    return {"seconds": options.round_seconds, "rounds": options.rounds}


def _options(arguments: list[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--parts", type=_names(PARTS), default=list(PARTS))
    parser.add_argument("--model", default="pico")
    parser.add_argument("--clients", type=positive, default=32)
    parser.add_argument("--seconds", type=float, default=60.0, help="of the mixed requests")
    parser.add_argument("--round-seconds", type=float, default=8.0, help="of the other parts")
    parser.add_argument("--rounds", type=positive, default=3)
    parser.add_argument("--warm-up-seconds", type=float, default=2.0)
    parser.add_argument("--dtypes", type=_names(DTYPES), default=list(DTYPES))
    parser.add_argument("--spread-pairs", type=positive, default=300)
    parser.add_argument("--queries", type=positive, default=20, help="of the stored passages")
    parser.add_argument("--candidates", type=positive, default=100)
    parser.add_argument("--passages", type=positive, help="of the index; all of the demo's")
    parser.add_argument("--pending", type=positive, default=8, help="limit of the overloaded one")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument(
        "--serve", type=str.split, default=[], help='more arguments of kalm serve, as "--threads 1"'
    )
    parser.add_argument("--output", type=Path)
    return parser.parse_args(arguments)


def _names(allowed: Sequence[str]) -> Callable[[str], list[str]]:
    def read(text: str) -> list[str]:
        chosen = text.split(",")
        unknown = [name for name in chosen if name not in allowed]
        if unknown:
            raise argparse.ArgumentTypeError(
                f"unknown: {', '.join(unknown)}; known: {', '.join(allowed)}"
            )
        return chosen

    return read


if __name__ == "__main__":
    main()
