"""The encoder by length, against Transformers' with the same random weights, and what it costs.

    python benchmarks/encoder.py                                        # Nano's shape, 6 layers
    python benchmarks/encoder.py --lengths 128,512,2048 --dtype float32
    python benchmarks/encoder.py --parts waste --data src/kalm_reranker/data/demo --model pico
    python benchmarks/encoder.py --parts memory --lengths 32768,131072

Parts: `speed` (passages and tokens a second, ours and theirs in turns), `shares` (of attention and
of linear layers, and how attention grows with the length), `waste` (rows that padding would add to
the batches of a collection), `memory` (peak of a passage, each in a new process).
"""

import argparse
import importlib
import json
import math
import random
import resource
import subprocess
import sys
import tempfile
import time
from collections import defaultdict
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from itertools import islice
from pathlib import Path
from typing import Any
from unittest.mock import patch

import torch
from report import Report, positive, tell
from torch import Tensor, nn

from kalm_reranker import KaLMReranker
from kalm_reranker.encoding.batching import batch_cost, plan_batches
from kalm_reranker.evaluation.data.beir import load_beir
from kalm_reranker.model.encoder import Encoder, EncoderLayer
from kalm_reranker.model.encoder_attention import BlockedAttention

PARTS = ("speed", "shares", "waste", "memory")
VOCABULARY = 24_576  # of the tests' tokenizer; the table's size changes nothing here
Run = Callable[[], object]


def main() -> None:
    """Prints tables, then a line of JSON."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--parts", type=lambda text: text.split(","), default=["speed", "shares"])
    parser.add_argument("--lengths", type=_numbers, default=[128, 256, 512, 1024, 2048, 4096])
    parser.add_argument("--growth", type=_numbers, default=[4096, 16_384], help="two lengths")
    parser.add_argument("--layers", type=positive, default=6)
    parser.add_argument("--dtype", default="bfloat16")
    parser.add_argument("--tokens", type=positive, default=4096, help="in a batch")
    parser.add_argument("--repeat", type=positive, default=3)
    parser.add_argument("--theirs-up-to", type=int, default=8192)
    parser.add_argument("--data", type=Path, help="a BEIR directory")
    parser.add_argument("--model", default="pico", help="whose tokens `waste` counts")
    parser.add_argument("--output", type=Path)
    parser.add_argument("--peak-of", type=int, help=argparse.SUPPRESS)
    parser.add_argument("--checkpoint", type=Path, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.peak_of:  # the process that `memory` starts
        print(json.dumps(_peak_of(options.checkpoint, options.dtype, options.peak_of)))
        return
    unknown = set(options.parts) - set(PARTS)
    if unknown or ("waste" in options.parts and not options.data):
        parser.error(f"--parts takes {', '.join(PARTS)}; waste needs --data")
    report = Report(vars(options), options.output)
    results: dict[str, Any] = {}
    with tempfile.TemporaryDirectory() as folder, torch.inference_mode():
        directory = Path(folder) / "model"
        if set(options.parts) != {"waste"}:
            sizes = {**_random_checkpoints().NANO, "vocab_size": VOCABULARY}
            sizes["num_hidden_layers"] = options.layers
            _random_checkpoints().build_checkpoint(directory, **sizes)
        for part in options.parts:
            results[part] = _MEASURES[part](report, options, directory)
    report.finish(results)


def speed(report: Report, options: argparse.Namespace, directory: Path) -> list[dict[str, Any]]:
    """Ours against theirs, in turns, at equal lengths and at mixed ones."""
    ours, theirs = _encoder(directory, options.dtype), _their_encoder(directory, options.dtype)
    rng = random.Random(0)
    batches = {
        f"{length:,}": [length] * max(1, options.tokens // length) for length in options.lengths
    }
    batches["50 to 1,000"] = sorted(rng.randint(50, 1000) for _ in range(8))
    rows = []
    for name, lengths in batches.items():
        tell(f"speed at {name}")
        token_ids, mask = _batch(lengths)
        runs: dict[str, Run] = {"ours": lambda: ours(token_ids, mask)}  # noqa: B023
        if max(lengths) <= options.theirs_up_to:
            runs["theirs"] = lambda: theirs(input_ids=token_ids, attention_mask=mask.long())  # noqa: B023
        seconds = _best_in_turns(runs, options.repeat)
        rows.append(
            {
                "tokens_of_a_passage": name,
                "passages": len(lengths),
                "passages_per_s": len(lengths) / seconds["ours"],
                "tokens_per_s": sum(lengths) / seconds["ours"],
                "times_transformers": seconds.get("theirs", math.nan) / seconds["ours"],
            }
        )
    report.table(
        f"Speed, {options.layers} layers of Nano's shape in {options.dtype}, all tokens real",
        ["tokens a passage", "passages", "passages/s", "tokens/s", "times Transformers"],
        [
            [
                row["tokens_of_a_passage"],
                str(row["passages"]),
                f"{row['passages_per_s']:.1f}",
                f"{row['tokens_per_s']:,.0f}",
                f"{row['times_transformers']:.2f}",
            ]
            for row in rows
        ],
    )
    return rows


def shares(report: Report, options: argparse.Namespace, directory: Path) -> dict[str, Any]:
    """Where the time goes at each length, and the exponent at which attention grows."""
    encoder = _encoder(directory, options.dtype)
    seconds: dict[int, dict[str, float]] = {}
    lengths = sorted({*options.lengths, *options.growth})
    for length in lengths:
        tell(f"shares at {length:,}")
        token_ids, mask = _batch([length] * max(1, options.tokens // length))
        encoder(token_ids, mask)
        for _ in range(options.repeat):
            with _clocks(encoder) as spent:
                start = time.perf_counter()
                encoder(token_ids, mask)
                spent["all"] = time.perf_counter() - start
            if length not in seconds or spent["all"] < seconds[length]["all"]:
                seconds[length] = dict(spent)
    parts = ("sliding", "global", "linear")
    report.table(
        "Shares of the time",
        ["tokens a passage", "sliding attention", "global attention", "linear and MLP", "rest"],
        [
            [
                f"{length:,}",
                *(f"{spent.get(part, 0.0) / spent['all']:.0%}" for part in parts),
                f"{1 - sum(spent.get(part, 0.0) for part in parts) / spent['all']:.0%}",
            ]
            for length, spent in seconds.items()
        ],
    )
    low, high = options.growth
    tokens = {length: length * max(1, options.tokens // length) for length in (low, high)}
    exponents = {
        part: 1
        + math.log((seconds[high][part] / tokens[high]) / (seconds[low][part] / tokens[low]))
        / math.log(high / low)
        for part in ("sliding", "global")
        if part in seconds[low]
    }
    report.table(
        f"Growth of a passage's time from {low:,} to {high:,} tokens",
        ["attention", "exponent"],
        [[part, f"{exponent:.2f}"] for part, exponent in exponents.items()],
    )
    return {"seconds": seconds, "exponents": exponents}


def waste(report: Report, options: argparse.Namespace, directory: Path) -> list[dict[str, Any]]:
    """Rows that padding would add, by how many passages are given at once."""
    reranker = KaLMReranker(options.model)
    texts = list(islice(load_beir(options.data).passages.values(), 2000))
    tokenizer, limit = reranker._pipeline.tokenizer, reranker.options.max_length
    lengths = [len(text.ids) for text in tokenizer.encode_documents(texts, limit)]
    rng = random.Random(0)
    rows = []
    for given in (20, 100, 1000):
        padded = real = 0
        for _ in range(-(-1000 // given)):
            shapes = [(length,) for length in rng.sample(lengths, min(given, len(lengths)))]
            for batch in plan_batches(shapes, max_items=32, token_budget=options.tokens):
                padded += batch_cost([shapes[index] for index in batch])
                real += sum(shapes[index][0] for index in batch)
        rows.append({"given": given, "padding": padded / real - 1})
    report.table(
        f"Rows that padding would add: {options.data.name}, "
        f"{sum(lengths) / len(lengths):.0f} tokens a passage, at most {limit}",
        ["passages at once", "padded batches", "packed batches"],
        [[str(row["given"]), f"{row['padding']:.1%}", "0.0%"] for row in rows],
    )
    return rows


def memory(report: Report, options: argparse.Namespace, directory: Path) -> list[dict[str, Any]]:
    """Peak of one passage above what the loaded model takes, each in a new process."""
    rows = []
    for length in options.lengths:
        tell(f"memory at {length:,}")
        command = [sys.executable, __file__, "--peak-of", str(length), "--dtype", options.dtype]
        command += ["--checkpoint", str(directory)]
        done = subprocess.run(command, capture_output=True, text=True, check=True)
        rows.append(json.loads(done.stdout.splitlines()[-1]))
    report.table(
        f"Memory of one passage, {options.layers} layers in {options.dtype}",
        ["tokens", "MB above the model", "kB a token", "seconds"],
        [
            [
                f"{row['tokens']:,}",
                f"{row['bytes'] / 1e6:,.0f}",
                f"{row['bytes'] / 1e3 / row['tokens']:.1f}",
                f"{row['seconds']:.1f}",
            ]
            for row in rows
        ],
    )
    return rows


_MEASURES: dict[str, Callable[[Report, argparse.Namespace, Path], Any]] = {
    "speed": speed,
    "shares": shares,
    "waste": waste,
    "memory": memory,
}


def _peak_of(directory: Path, dtype: str, length: int) -> dict[str, float]:
    encoder = _encoder(directory, dtype)
    with torch.inference_mode():
        encoder(*_batch([64]))
        before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        start = time.perf_counter()
        encoder(*_batch([length]))
        seconds = time.perf_counter() - start
    grown = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before
    return {"tokens": length, "bytes": grown * 1024, "seconds": seconds}


def _random_checkpoints() -> Any:
    """The tests' own module: a shape that is tested for parity is the one that is timed."""
    root = str(Path(__file__).parents[1])
    if root not in sys.path:
        sys.path.append(root)
    return importlib.import_module("tests.parity.random_checkpoints")


def _encoder(directory: Path, dtype: str) -> Encoder:
    return KaLMReranker(str(directory), dtype=dtype, device="cpu")._pipeline.model.model.encoder


def _their_encoder(directory: Path, dtype: str) -> Any:
    from transformers import T5Gemma2ForConditionalGeneration, logging

    logging.set_verbosity_error()  # type: ignore[no-untyped-call]
    logging.disable_progress_bar()  # type: ignore[no-untyped-call]
    model = T5Gemma2ForConditionalGeneration.from_pretrained(directory, dtype=getattr(torch, dtype))
    return model.get_encoder()  # in evaluation mode already


def _batch(lengths: list[int]) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(0)
    shape = (len(lengths), max(lengths))
    token_ids = torch.randint(5, VOCABULARY, shape, generator=generator)
    return token_ids, torch.arange(shape[1]) < torch.tensor(lengths).unsqueeze(1)


def _best_in_turns(runs: dict[str, Run], repeat: int) -> dict[str, float]:
    """Returns the best time of each, after one run each that does not count."""
    for run in runs.values():
        run()
    best: dict[str, float] = {}
    for _ in range(repeat):
        for name, run in runs.items():
            start = time.perf_counter()
            run()
            seconds = time.perf_counter() - start
            best[name] = min(seconds, best.get(name, seconds))
    return best


@contextmanager
def _clocks(encoder: Encoder) -> Iterator[dict[str, float]]:
    """Yields seconds of "sliding" and "global" attention, and of "linear" layers and MLPs."""
    spent: dict[str, float] = defaultdict(float)
    attend = BlockedAttention.__call__
    starts: list[float] = []

    def timed_attend(self: BlockedAttention, *heads: Tensor) -> Tensor:
        start = time.perf_counter()
        mixed = attend(self, *heads)
        spent["global" if self.is_global else "sliding"] += time.perf_counter() - start
        return mixed

    def begin(module: nn.Module, inputs: object) -> None:
        starts.append(time.perf_counter())

    def end(module: nn.Module, inputs: object, output: object) -> None:
        spent["linear"] += time.perf_counter() - starts.pop()

    hooks = []
    for layer in encoder.layers:
        assert isinstance(layer, EncoderLayer)
        norms = (layer.self_attn.q_norm, layer.self_attn.k_norm)
        for module in (layer.mlp, *layer.self_attn.children()):
            if module not in norms:
                hooks += [
                    module.register_forward_pre_hook(begin),
                    module.register_forward_hook(end),
                ]
    try:
        with patch.object(BlockedAttention, "__call__", timed_attend):
            yield spent
    finally:
        for hook in hooks:
            hook.remove()


def _numbers(text: str) -> list[int]:
    return [positive(part) for part in text.split(",")]


if __name__ == "__main__":
    main()
