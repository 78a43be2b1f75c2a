"""Building an index of real texts: how much of the time is not the encoder's."""

import argparse
from itertools import islice
from pathlib import Path
from typing import Any

from report import Report, tell

from kalm_reranker import KaLMReranker
from kalm_reranker.evaluation.data.beir import load_beir
from kalm_reranker.index.passage_index import PassageIndex


def measure_building(options: argparse.Namespace, folder: Path, report: Report) -> dict[str, Any]:
    """Returns the seconds and shares of each part of an add, and of adding the same again."""
    collection = load_beir(options.data)
    texts = dict(islice(collection.passages.items(), options.build))
    tell(f"building an index of {len(texts)} passages of {collection.name}")
    reranker = KaLMReranker(options.model)
    reranker.encode(["A passage."], show_progress=False)  # what only the first call pays
    with PassageIndex.create(folder, reranker) as index:
        added = index.add(texts.items(), show_progress=False)
        again = index.add(texts.items(), show_progress=False)
        header = index.header
    parts = {"encode": added.encode_s, "store": added.store_s, "first stage": added.first_stage_s}
    parts["reading, checks, the rest"] = added.seconds - sum(parts.values())
    numbers = {
        "model": options.model,
        "codec": header.codec,
        "compression_ratio": header.compression_ratio,
        "passages": len(texts),
        "tokens_a_passage": added.num_tokens / len(texts),
        "seconds": added.seconds,
        "parts_s": parts,
        "shares": {name: seconds / added.seconds for name, seconds in parts.items()},
        "again_s": again.seconds,
        "again_unchanged": again.unchanged,
    }
    report.table(
        f"building: {len(texts)} passages of {numbers['tokens_a_passage']:.0f} tokens with "
        f"{options.model}, ratio {header.compression_ratio}, {header.codec}; "
        f"{added.seconds:.1f} s, the same again {again.seconds:.2f} s",
        ["part", "s", "share"],
        [[name, f"{s:.2f}", f"{100 * s / added.seconds:.1f}%"] for name, s in parts.items()],
    )
    return numbers
