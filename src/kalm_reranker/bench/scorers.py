"""Which ways there are on a machine, and their models."""

from collections.abc import Callable, Sequence
from typing import Any

import torch

from kalm_reranker.bench.joint import JointScorer
from kalm_reranker.bench.official import OfficialScorer, default_dtype, load_official
from kalm_reranker.bench.ours import OurEncodingScorer, OurStoredScorer
from kalm_reranker.bench.report import CACHED, ENCODED, STORED, TOGETHER, Way
from kalm_reranker.bench.settings import JOINT, OFFICIAL, OURS
from kalm_reranker.bench.setup import Setup
from kalm_reranker.bench.workload import Scorer
from kalm_reranker.engine.placement import choose_dtype, dtype_name
from kalm_reranker.reranker import KaLMReranker

Tell = Callable[[str], None]


def official_dtypes(device: torch.device, dtype: torch.dtype) -> list[str]:
    """Returns the reference's own default dtype on a device, and ours where that is another."""
    return list(dict.fromkeys([dtype_name(default_dtype(device)), dtype_name(dtype)]))


def ways_of(setup: Setup, paths: Sequence[str]) -> list[Way]:
    """Returns the ways of some paths, in the order they are shown."""
    ours = dtype_name(setup.dtype)
    every = [
        *(
            Way(path=OFFICIAL, passages=passages, dtype=dtype)
            for dtype in official_dtypes(setup.device, setup.dtype)
            for passages in (ENCODED, STORED)
        ),
        Way(path=JOINT, passages=TOGETHER, dtype=ours),
        *(Way(path=OURS, passages=passages, dtype=ours) for passages in (ENCODED, STORED, CACHED)),
    ]
    return [way for way in every if way.path in paths]


def load_scorers(setup: Setup, ways: Sequence[Way], tell: Tell = lambda line: None) -> list[Scorer]:
    """Loads what ways need; those that share a model load it once.

    Args:
        setup: What they are measured with.
        ways: Which.
        tell: Called with a line of text before each model is loaded.

    Returns:
        A scorer for each way, in order.

    Raises:
        MissingExtraError: The official path is among them, and Transformers is not installed.
        CheckpointError: The weights cannot be used.
    """
    models: dict[tuple[str, str], Any] = {}
    scorers: list[Scorer] = []
    for way in ways:
        key = (way.path, way.dtype)
        if way.path == OFFICIAL:
            if key not in models:
                tell(f"loading the official model in {way.dtype}")
                dtype, _ = choose_dtype(way.dtype, setup.device)
                models[key] = load_official(setup.checkpoint.directory, dtype, setup.device)
            scorers.append(OfficialScorer(models[key], setup, encodes=way.passages == ENCODED))
        elif way.path == JOINT:
            tell(f"making a joint cross-encoder of {setup.joint_layers} layers")
            scorers.append(JointScorer(setup))
        else:
            if key not in models:
                tell("loading our model")
                keeps = any((one.path, one.passages) == (OURS, CACHED) for one in ways)
                models[key] = _load_ours(setup, keeps=keeps)
            if way.passages == ENCODED:
                scorers.append(OurEncodingScorer(models[key]))
            else:
                scorers.append(OurStoredScorer(models[key], cached=way.passages == CACHED))
    return scorers


def _load_ours(setup: Setup, *, keeps: bool) -> KaLMReranker:
    return KaLMReranker(
        setup.checkpoint.directory,
        device=setup.device,
        dtype=setup.dtype,
        batch_size=setup.settings.batch_size,
        max_length=setup.max_length,
        query_max_length=setup.settings.query_tokens,
        token_budget=setup.token_budget,
        engine=setup.engine.name,
        quantization=setup.quantization,
        prefix_cache_bytes=setup.prefix_cache_bytes if keeps else 0,
    )
