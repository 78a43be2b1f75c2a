r"""Speed and error of 8-bit decoder weights against float32 and bfloat16.

    python benchmarks/int8.py FOLDER/scifact FOLDER/cranfield --max-queries 40
    python benchmarks/int8.py --no-model-speed

All variants take turns, and the best time of each counts:

- layers: projections and MLP of one Nano layer alone, at the rows of a whole prompt (T=80, with the
  keys and values of 128 slots) and at those of a query behind a cached prefix (T=24), as
  milliseconds a candidate for all 18 layers;
- model: 20 candidates of 128 slots scored by a random model of Nano's shape, everything included,
  with the whole prompt and with a cached prefix; what quantising takes and saves;
- quality, for each BEIR directory: nDCG@10 and changes of margins from float32, with the same
  float32 passage states for all variants.
"""

import argparse
import tempfile
import time
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from statistics import fmean
from typing import Any, NamedTuple

import torch
from random_model import model_path
from report import Report, percentile, positive, tell
from reranking import candidate_ids, rerank_from_states
from torch import Tensor, nn

from kalm_reranker import KaLMReranker, PassageStates
from kalm_reranker.engine.fused_cpu import fuse_linear_layers
from kalm_reranker.engine.int8 import (
    Int8GatedMLP,
    Int8Linear,
    int8_instructions,
    quantize_decoder,
)
from kalm_reranker.engine.int8_support import int8_problem
from kalm_reranker.evaluation.data.beir import load_beir
from kalm_reranker.evaluation.measures.metrics import measure_run
from kalm_reranker.model.config import LayerType, RotaryConfig, StackConfig
from kalm_reranker.model.layers import GatedMLP
from kalm_reranker.search.bm25 import BM25FirstStage
from kalm_reranker.search.ranking import Run


class Variant(NamedTuple):
    """How a model is executed; the first of `VARIANTS` is what the others are compared with."""

    name: str
    dtype: str
    int8: bool = False
    fused: bool = False


VARIANTS = (
    Variant("float32", "float32"),
    Variant("float32, fused", "float32", fused=True),
    Variant("bfloat16", "bfloat16"),
    Variant("bfloat16, fused", "bfloat16", fused=True),
    Variant("int8 in float32", "float32", int8=True),
    Variant("int8 in bfloat16", "bfloat16", int8=True),
)
SLOTS, PROMPT, QUERY = 128, 80, 24
QUERY_TEXT = (
    "which measurements of the boundary layer were made at high speed and how"  # ~24 tokens
)
CACHE_BYTES = 2**30
NANO_LAYERS = 18
LAYER_TYPE: LayerType = "full"  # tells attention apart, which is not timed
NANO = StackConfig(
    hidden_width=640,
    mlp_width=2048,
    num_layers=NANO_LAYERS,
    num_query_heads=4,
    num_key_value_heads=1,
    head_width=256,
    vocab_size=1,
    max_positions=131_072,
    sliding_window=512,
    layer_types=(LAYER_TYPE,) * NANO_LAYERS,
    rotary={LAYER_TYPE: RotaryConfig(theta=1e6)},
    attention_scale=1 / 16,
    attention_bias=False,
    norm_eps=1e-6,
    final_logit_softcap=None,
)


def main(arguments: list[str] | None = None) -> None:
    """Prints the tables, then a line of JSON."""
    options = parse(arguments)
    report = Report(vars(options), options.output)
    problem = int8_problem()
    if problem is not None:
        raise SystemExit(f"error: int8 weights cannot be used on this machine: {problem}")
    instructions = int8_instructions()
    tell(f"int8 instructions: {instructions}")
    results: dict[str, Any] = {"instructions": instructions}
    results["layers"] = measure_layers(options)
    show_layers(report, options.candidates, results["layers"])
    if options.model_speed:
        results["model"] = measure_model(options)
        show_model(report, options.candidates, results["model"])
        results["loading"] = measure_loading(options)
        show_loading(report, results["loading"])
    results["sets"] = {}
    for directory in options.sets:
        name, measured = measure_quality(directory, options)
        results["sets"][name] = measured
        show_quality(report, name, measured)
    report.finish(results)


def parse(arguments: list[str] | None) -> argparse.Namespace:
    """Returns the checked command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("sets", nargs="*", type=Path, help="BEIR directories")
    parser.add_argument("--model", default="pico", help="whose margins are compared")
    parser.add_argument("--max-queries", type=positive, help="first queries of each set; all")
    parser.add_argument("--top-k", type=positive, default=100, help="BM25 candidates of a query")
    parser.add_argument("--repeat", type=positive, default=7, help="rounds of each time")
    parser.add_argument(
        "--model-speed", action=argparse.BooleanOptionalAction, default=True, help="second table"
    )
    parser.add_argument("--candidates", type=positive, default=20, help="scored together")
    parser.add_argument("--shape", default="nano-shape", help="random model of the second table")
    parser.add_argument("--model-folder", type=Path, help="keeps the random checkpoint")
    parser.add_argument("--output", type=Path, help="JSON file to write the numbers to")
    return parser.parse_args(arguments)


class Layer(nn.Module):
    """What of one decoder layer 8-bit weights replace, with random weights."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        width, mixed_width = NANO.hidden_width, NANO.num_query_heads * NANO.head_width
        self.q = nn.Linear(width, mixed_width, bias=False)
        self.k = nn.Linear(width, NANO.head_width, bias=False)
        self.v = nn.Linear(width, NANO.head_width, bias=False)
        self.o = nn.Linear(mixed_width, width, bias=False)
        self.mlp = GatedMLP(NANO)

    def forward(self, hidden: Tensor, mixed: Tensor, slots: Tensor | None) -> None:
        """Rows [M, D], attention's output [M, H * K] and passage slots [S, D]; no attention."""
        self.q(hidden), self.k(hidden), self.v(hidden)
        if slots is not None:
            self.k(slots), self.v(slots)
        self.o(mixed), self.mlp(hidden)


def layer_of(variant: Variant) -> Layer:
    """Returns a layer as a variant has it."""
    layer = Layer().to(getattr(torch, variant.dtype)).requires_grad_(False)
    if variant.int8:
        for name in "qkvo":
            setattr(layer, name, Int8Linear.from_linear(getattr(layer, name)))
        layer.mlp = Int8GatedMLP.from_mlp(layer.mlp)  # type: ignore[assignment]
    if variant.fused:
        fuse_linear_layers(layer)
    return layer


def measure_layers(options: argparse.Namespace) -> list[dict[str, Any]]:
    """Returns a row per variant with milliseconds a candidate."""
    runs: dict[tuple[str, int], Callable[[], None]] = {}
    for variant in VARIANTS:
        dtype = getattr(torch, variant.dtype)
        layer = layer_of(variant)
        for tokens, slots in ((PROMPT, SLOTS), (QUERY, 0)):
            hidden = torch.randn(options.candidates * tokens, NANO.hidden_width).to(dtype)
            mixed = torch.randn(len(hidden), NANO.num_query_heads * NANO.head_width).to(dtype)
            states = torch.randn(options.candidates * slots, NANO.hidden_width).to(dtype)
            run = partial(layer, hidden, mixed, states if slots else None)
            runs[variant.name, tokens] = run
    best = best_times(runs, options.repeat)
    to_ms = 1e3 * NANO_LAYERS / options.candidates
    return [
        {
            "variant": variant.name,
            "prompt_ms": to_ms * best[variant.name, PROMPT],
            "query_ms": to_ms * best[variant.name, QUERY],
        }
        for variant in VARIANTS
    ]


def reranker_of(variant: Variant, model: str, *, prefix_cache_bytes: int = 0) -> KaLMReranker:
    """Returns a model as a variant has it; of an int8 one the encoder is fused."""
    reranker = KaLMReranker(
        model,
        dtype=variant.dtype,
        device="cpu",
        batch_size=32,
        engine="fused" if variant.fused else "eager",
        prefix_cache_bytes=prefix_cache_bytes,
    )
    if variant.int8:
        quantize_decoder(reranker._pipeline.model)
        fuse_linear_layers(reranker._pipeline.model)
    return reranker


def measure_model(options: argparse.Namespace) -> list[dict[str, Any]]:
    """Returns a row per variant: milliseconds a candidate, and how far margins moved."""
    runs: dict[tuple[str, bool], Callable[[], list[float]]] = {}
    with tempfile.TemporaryDirectory(prefix="kalm-bench-") as temporary:
        path = model_path(options.shape, options.model_folder or Path(temporary))
        for variant in VARIANTS:
            for cached in (False, True):
                tell(f"loading {options.shape}: {variant.name}")
                reranker = reranker_of(
                    variant, path, prefix_cache_bytes=CACHE_BYTES if cached else 0
                )
                torch.manual_seed(0)
                states = PassageStates(
                    torch.randn(options.candidates * SLOTS, reranker.width).to(reranker.dtype),
                    [4 * SLOTS] * options.candidates,
                    [False] * options.candidates,
                    4,
                    reranker.provenance,
                    identities=range(options.candidates) if cached else None,
                )
                runs[variant.name, cached] = partial(margins_of, reranker, states)
    best = best_times(runs, options.repeat)
    margins = {name: run() for name, run in runs.items()}
    rows = []
    for variant in VARIANTS:
        changes = [
            abs(margin - first)
            for cached in (False, True)
            for margin, first in zip(
                margins[variant.name, cached], margins[VARIANTS[0].name, False], strict=True
            )
        ]
        rows.append(
            {
                "variant": variant.name,
                "ms": 1e3 * best[variant.name, False] / options.candidates,
                "cached_ms": 1e3 * best[variant.name, True] / options.candidates,
                "mean_change": fmean(changes),
                "largest_change": max(changes),
            }
        )
    return rows


def margins_of(reranker: KaLMReranker, states: PassageStates) -> list[float]:
    """Returns the margin of each passage."""
    return [pair.margin for pair in reranker.score(QUERY_TEXT, states, return_margin=True)]


def measure_loading(options: argparse.Namespace) -> dict[str, float]:
    """Returns the seconds that quantising takes, and the bytes before (in bfloat16) and after."""
    with tempfile.TemporaryDirectory(prefix="kalm-bench-") as temporary:
        path = model_path(options.shape, options.model_folder or Path(temporary))
        reranker = reranker_of(Variant("bfloat16", "bfloat16"), path)
    model = reranker._pipeline.model
    linears = (part for part in model.model.decoder.modules() if isinstance(part, nn.Linear))
    float_bytes = sum(linear.weight.nbytes for linear in linears)
    start = time.perf_counter()
    quantize_decoder(model)
    seconds = time.perf_counter() - start
    parts = (part for part in model.modules() if isinstance(part, Int8Linear | Int8GatedMLP))
    int8_bytes = sum(part.num_bytes for part in parts)
    return {"quantise_s": seconds, "bfloat16_bytes": float_bytes, "int8_bytes": int8_bytes}


def best_times(runs: Mapping[Any, Callable[[], object]], repeat: int) -> dict[Any, float]:
    """Returns the best seconds of each; they take turns, since machines are shared.

    With one thread (OMP_NUM_THREADS=1) it is the thread's own time on the processor that counts,
    which other work on the machine disturbs least.
    """
    clock = time.thread_time if torch.get_num_threads() == 1 else time.perf_counter
    best = dict.fromkeys(runs, float("inf"))
    with torch.inference_mode():
        for run in runs.values():
            run()
        for _ in range(repeat):
            for name, run in runs.items():
                start = clock()
                run()
                best[name] = min(best[name], clock() - start)
    return best


def measure_quality(
    directory: Path, options: argparse.Namespace
) -> tuple[str, list[dict[str, Any]]]:
    """Returns the set's name and a row per variant."""
    collection = load_beir(directory)
    if options.max_queries is not None:
        collection = collection.first_queries(options.max_queries)
    candidates = BM25FirstStage(collection.passages).search(collection.queries, options.top_k)
    passage_ids = candidate_ids(candidates)
    tell(f"{collection.name}: {len(candidates)} queries, encoding {len(passage_ids)} passages")
    rerankers = {variant.name: reranker_of(variant, options.model) for variant in VARIANTS}
    first = next(iter(rerankers.values()))
    states = first.encode([collection.passages[name] for name in passage_ids])
    rows: list[dict[str, Any]] = []
    reference: Run | None = None
    for name, reranker in rerankers.items():
        run = rerank_from_states(reranker, collection.queries, candidates, passage_ids, states)
        reference = reference or run
        changes = changes_of(run, reference)
        rows.append(
            {
                "variant": name,
                "ndcg_at_10": measure_run(run, collection.qrels).mean,
                "mean_change": fmean(changes),
                "p99_change": percentile(changes, 99),
                "largest_change": max(changes),
                "pairs": len(changes),
            }
        )
        tell(f"{collection.name}, {name}: {rows[-1]['ndcg_at_10']:.4f}")
    return collection.name, rows


def changes_of(run: Run, reference: Run) -> list[float]:
    """Returns how far each margin is from that of the reference."""
    return [
        abs(margin - reference[query][passage])
        for query, margins in run.items()
        for passage, margin in margins.items()
    ]


def show_layers(report: Report, num_candidates: int, rows: list[dict[str, Any]]) -> None:
    """Prints the first table."""
    header = ["variant", f"T={PROMPT}, C={SLOTS}", "times", f"T={QUERY}", "times"]
    lines = []
    for row in rows:
        line = [row["variant"]]
        for column in ("prompt_ms", "query_ms"):
            line += [f"{row[column]:.2f}", f"{rows[0][column] / row[column]:.2f}"]
        lines.append(line)
    title = f"projections and MLPs, ms a candidate ({num_candidates} together), and times as fast"
    report.table(title, header, lines)


def show_model(report: Report, num_candidates: int, rows: list[dict[str, Any]]) -> None:
    """Prints the second table."""
    header = [
        "variant",
        "whole prompt",
        "times",
        "prefix cached",
        "times",
        "mean change",
        "largest",
    ]
    lines = [
        [
            row["variant"],
            f"{row['ms']:.1f}",
            f"{rows[0]['ms'] / row['ms']:.2f}",
            f"{row['cached_ms']:.1f}",
            f"{rows[0]['cached_ms'] / row['cached_ms']:.2f}",
            f"{row['mean_change']:.3f}",
            f"{row['largest_change']:.3f}",
        ]
        for row in rows
    ]
    title = f"random model, {num_candidates} candidates of {SLOTS} slots, ms a candidate, times"
    report.table(title, header, lines)


def show_loading(report: Report, loading: dict[str, float]) -> None:
    """Prints what quantising takes and saves."""
    lines = [
        [
            f"{loading['quantise_s']:.2f}",
            f"{loading['bfloat16_bytes'] / 1e6:.1f}",
            f"{loading['int8_bytes'] / 1e6:.1f}",
        ]
    ]
    report.table("quantising the decoder", ["seconds", "bfloat16 MB", "int8 MB"], lines)


def show_quality(report: Report, name: str, rows: list[dict[str, Any]]) -> None:
    """Prints the table of a set."""
    header = ["variant", "nDCG@10", "mean change", "99th percentile", "largest change"]
    lines = [
        [
            row["variant"],
            f"{row['ndcg_at_10']:.4f}",
            f"{row['mean_change']:.4f}",
            f"{row['p99_change']:.4f}",
            f"{row['largest_change']:.4f}",
        ]
        for row in rows
    ]
    report.table(f"{name}: {rows[0]['pairs']} pairs, margins against float32", header, lines)


if __name__ == "__main__":
    main()
