"""Execution with PyTorch's compiler, and on CUDA with captured graphs.

The decoder's layers are compiled one by one: they are the same code, so all but the last share
what is compiled, and sizes are symbols, so a new length compiles nothing. On CUDA the launches of
a whole forward pass are captured once for each of a small set of sizes, to which batches are
padded, and replayed from then on.

Shape letters: B pairs, T prompt tokens, S context keys, C slots of a passage, D hidden width.
"""

import importlib
import logging
import os
import threading
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from kalm_reranker.engine.batches import PairBatch, padded_width
from kalm_reranker.engine.eager import EagerForward
from kalm_reranker.engine.key_value_arena import ROWS, CachedContext
from kalm_reranker.errors import EngineError
from kalm_reranker.model.context import PassageSlots
from kalm_reranker.model.encoder import EncoderLayer
from kalm_reranker.model.reranker_model import RerankerModel

logger = logging.getLogger(__name__)

# Sizes of captured graphs. Padding a prompt or a passage costs part of a forward pass; a graph for
# every length would cost memory, and a capture in somebody's request.
_TOKEN_MULTIPLE = 8
_KEY_MULTIPLE = 4 * ROWS
_MOST_GRAPHS = 64

# What one function may be compiled for, in the whole process. PyTorch's own limit is 8; a decoder
# layer takes some 16 for each dtype: first and last layers, one pair and several, with and without
# prefix, passages of one length and of several. Beyond the limit a request fails.
_MOST_VARIANTS = 128

_CACHE_VARIABLE = "TORCHINDUCTOR_CACHE_DIR"


def keep_compiled_code() -> Path:
    """Lets PyTorch keep what it compiles between runs, where it would take a temporary folder.

    Returns:
        The folder: what `TORCHINDUCTOR_CACHE_DIR` says, else one in the user's cache.
    """
    base = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    folder = Path(os.environ.setdefault(_CACHE_VARIABLE, str(Path(base, "kalm-reranker/compiled"))))
    return folder


def compile_layers(model: RerankerModel) -> None:
    """Has the layers compiled when they first run; see `CompilerWatch`."""
    keep_compiled_code()
    with warnings.catch_warnings():
        # PyTorch's compiler uses what PyTorch calls outdated; nobody here can change that.
        warnings.simplefilter("ignore", DeprecationWarning)
        importlib.import_module("torch._inductor.compile_fx")
    settings: Any = importlib.import_module("torch._dynamo.config")
    settings.cache_size_limit = max(settings.cache_size_limit, _MOST_VARIANTS)
    # Parameters are inputs of the code, so that layers share it.
    for layer in model.model.decoder.layers:
        layer.compile(dynamic=True, fullgraph=True)
    for layer in model.model.encoder.layers:  # their attention is blocked, and stays as it is
        assert isinstance(layer, EncoderLayer)
        compiled = torch.compile(layer.add_attended, dynamic=True, fullgraph=True)
        layer.add_attended = compiled  # type: ignore[method-assign]


class CompilerWatch:
    """Says when PyTorch's compiler ran in a request, and turns its errors into our own.

    Both arise where code first runs, not where it is prepared.

    Args:
        is_used: Whether anything is compiled at all.
        on_compile: Called when something was compiled outside `warming_up`.
    """

    def __init__(self, is_used: bool, on_compile: Callable[[], None]) -> None:
        self._is_used = is_used
        self._on_compile = on_compile
        self.warming_up = False

    @contextmanager
    def __call__(self) -> Iterator[None]:
        """Watches a block.

        Raises:
            EngineError: The compiler failed.
        """
        before = self._num_compiled()
        try:
            yield
        except Exception as error:
            # By name: importing the compiler to know its errors would cost a second at every start.
            if not type(error).__module__.startswith(("torch._dynamo", "torch._inductor")):
                raise
            raise EngineError(
                f"engine 'compiled' cannot run here: {str(error).partition(chr(10))[0]}",
                hint="It needs a C++ compiler on a CPU, and Triton on CUDA; or use engine='auto'.",
            ) from error
        compiled = self._num_compiled() - before
        if compiled and not self.warming_up:
            self._on_compile()
            logger.warning(
                "engine 'compiled' compiled %d functions in a request; call warm_up() before the "
                "first one",
                compiled,
            )

    def _num_compiled(self) -> int:
        """Returns how many functions were compiled, or read from the folder, in this process."""
        if not self._is_used:
            return 0
        return int(
            importlib.import_module("torch._dynamo.utils").counters["stats"]["unique_graphs"]
        )


def fixed_shape(batch: PairBatch) -> PairBatch:
    """Returns a batch padded to one of few shapes, so that what was made for it fits again.

    Pairs are padded to a power of two, prompts and passages at the right end. The logits of the
    first B pairs are those of the batch.
    """
    pairs, tokens = batch.prompt_ids.shape
    wide_pairs = 1 << (pairs - 1).bit_length()
    wide_tokens = -(-tokens // _TOKEN_MULTIPLE) * _TOKEN_MULTIPLE
    prompt_ids = batch.prompt_ids.new_zeros(wide_pairs, wide_tokens)
    prompt_ids[:pairs, :tokens] = batch.prompt_ids
    last_positions = batch.last_positions.new_zeros(wide_pairs)
    last_positions[:pairs] = batch.last_positions
    context = batch.context
    if isinstance(context, CachedContext):
        return PairBatch(prompt_ids, last_positions, _fixed_cached(context, wide_pairs))
    if isinstance(context, PassageSlots):
        return PairBatch(prompt_ids, last_positions, _fixed_slots(context, wide_pairs))
    raise TypeError(f"no fixed shape is known for a {type(context).__name__}")


def _fixed_cached(context: CachedContext, wide_pairs: int) -> CachedContext:
    pairs, blocks = context.blocks.shape
    keys = -(-context.num_keys // _KEY_MULTIPLE) * _KEY_MULTIPLE
    unused = context.data.shape[2] - 1  # the arena's block of zeros
    wide = context.blocks.new_full((wide_pairs, keys // ROWS), unused)
    wide[:pairs, :blocks] = context.blocks
    mask = torch.zeros(wide_pairs, keys, dtype=torch.bool, device=wide.device)
    mask[:pairs, : context.num_keys] = True if context.mask is None else context.mask
    return replace(context, blocks=wide, mask=mask)


def _fixed_slots(context: PassageSlots, wide_pairs: int) -> PassageSlots:
    pairs, width = context.num_pairs, context.num_keys
    wide_width = -(-padded_width(width) // _KEY_MULTIPLE) * _KEY_MULTIPLE
    slots = context.slots if context.index is None else context.slots[context.index.flatten()]
    by_pair = slots.view(pairs, width, -1)
    wide = by_pair.new_zeros(wide_pairs, wide_width, by_pair.shape[-1])
    wide[:pairs, :width] = by_pair
    mask = torch.zeros(wide_pairs, wide_width, dtype=torch.bool, device=wide.device)
    mask[:pairs, :width] = True if context.mask is None else context.mask
    return PassageSlots(wide.flatten(0, 1), None, mask, wide_pairs)


@dataclass
class _Graph:
    graph: Any  # torch.cuda.CUDAGraph, which builds without CUDA lack
    inputs: list[Tensor]
    logits: Tensor


class CompiledForward:
    """Runs batches through compiled layers, on CUDA from captured graphs.

    Safe to use from several threads: one forward pass runs at a time.

    Args:
        model: With layers that `compile_layers` prepared.
        yes_id: Token id of "yes".
        no_id: Token id of "no".
    """

    def __init__(self, model: RerankerModel, yes_id: int, no_id: int) -> None:
        self._eager = EagerForward(model, yes_id, no_id)
        self._device = model.device
        self._graphs: dict[tuple[Any, ...], _Graph] = {}
        self._pool: Any = None
        self._lock = threading.Lock()

    def __call__(self, batch: PairBatch) -> Tensor:
        """Returns logits [B, 2] of yes and no, float32, on the model's device."""
        with self._lock:
            return self._replay(batch) if self._device.type == "cuda" else self._eager(batch)

    def _replay(self, batch: PairBatch) -> Tensor:
        """Runs the graph of the batch's shape, which is captured if there is none."""
        wide = fixed_shape(batch)
        inputs = _inputs(wide)
        context = wide.context
        key = (type(context).__name__, context.num_prompt_tokens, *(t.shape for t in inputs))
        captured = self._graphs.get(key)
        if captured is None:
            if len(self._graphs) >= _MOST_GRAPHS:  # shapes outside any pattern: begin again
                self._graphs.clear()
                self._pool = None  # it belonged to them
            with torch.cuda.device(self._device):
                captured = self._graphs[key] = self._capture(wide)
            logger.info("captured a CUDA graph for %s", key)
        for static, given in zip(captured.inputs, inputs, strict=True):
            static.copy_(given)
        captured.graph.replay()
        # A copy: the next replay writes to the same place.
        return captured.logits[: len(batch.prompt_ids)].clone()

    def _capture(self, batch: PairBatch) -> _Graph:
        """Records the launches of a forward pass over copies of the batch's tensors."""
        inputs = [tensor.clone() for tensor in _inputs(batch)]
        static = _with_inputs(batch, inputs)
        stream = torch.cuda.Stream()  # type: ignore[no-untyped-call]
        stream.wait_stream(torch.cuda.current_stream())
        with torch.cuda.stream(stream):
            for _ in range(2):  # compilation and libraries' set-up must be over before capture
                self._eager(static)
        torch.cuda.current_stream().wait_stream(stream)
        if self._pool is None:
            self._pool = torch.cuda.graph_pool_handle()
        graph = torch.cuda.CUDAGraph()
        # Other threads may encode meanwhile: their allocations are not this capture's business.
        with torch.cuda.graph(graph, pool=self._pool, capture_error_mode="thread_local"):
            logits = self._eager(static)
        return _Graph(graph, inputs, logits)


def _inputs(batch: PairBatch) -> list[Tensor]:
    """The tensors of a batch of fixed shape that differ from request to request."""
    context = batch.context
    if isinstance(context, CachedContext):  # the arena is always the same
        own = [context.blocks, context.mask]
    else:
        assert isinstance(context, PassageSlots)
        own = [context.slots, context.mask]
    return [batch.prompt_ids, batch.last_positions, *(t for t in own if t is not None)]


def _with_inputs(batch: PairBatch, inputs: list[Tensor]) -> PairBatch:
    prompt_ids, last_positions, first, mask = inputs
    context = batch.context
    if isinstance(context, CachedContext):
        return PairBatch(prompt_ids, last_positions, replace(context, blocks=first, mask=mask))
    assert isinstance(context, PassageSlots)
    return PairBatch(prompt_ids, last_positions, replace(context, slots=first, mask=mask))
