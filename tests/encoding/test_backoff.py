"""Nothing is lost or computed twice when memory runs out, and what cannot fit says so."""

import logging
import os
import subprocess
import sys
import weakref
from itertools import pairwise

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from kalm_reranker import KaLMReranker
from kalm_reranker.encoding.backoff import run_batches
from kalm_reranker.encoding.batching import batch_cost
from kalm_reranker.errors import KalmRerankerError, OutOfMemoryError
from kalm_reranker.model.encoder import Encoder

ALLOCATOR = (
    "[enforce fail at alloc_cpu.cpp:127] err == 0. DefaultCPUAllocator: can't allocate memory: "
    "you tried to allocate 773120 bytes. Error code 12 (Cannot allocate memory)"
)
ERRORS = [
    RuntimeError(ALLOCATOR),
    RuntimeError("could not create a primitive"),
    MemoryError(),
    torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB."),
]


class Machine:
    """Computes batches up to a cost, and fails on larger ones as an allocator does."""

    def __init__(self, shapes, most, error=ERRORS[0]):
        self.shapes, self.most, self.error = shapes, most, error
        self.finished, self.costs, self.splits = [], [], 0

    def run(self, batch):
        cost = batch_cost([self.shapes[index] for index in batch])
        self.costs.append(cost)
        if cost > self.most:
            raise self.error
        self.finished += batch

    def split(self):
        self.splits += 1

    def run_all(self, *, max_items=8, token_budget=1000):
        run_batches(
            self.shapes,
            self.run,
            max_items=max_items,
            token_budget=token_budget,
            what="passage",
            on_split=self.split,
        )


@given(
    st.lists(st.tuples(st.integers(1, 50), st.integers(1, 50)), max_size=40),
    st.integers(100, 2000),
    st.integers(1, 16),
    st.integers(1, 4000),
)
def test_each_item_is_finished_once_whatever_fits(shapes, most, max_items, token_budget):
    machine = Machine(shapes, most)
    machine.run_all(max_items=max_items, token_budget=token_budget)
    assert sorted(machine.finished) == list(range(len(shapes)))
    failed = [cost for cost in machine.costs if cost > most]
    assert machine.splits == len(failed)
    # Each failure halves the budget of everything after it.
    assert all(later <= earlier // 2 for earlier, later in pairwise(failed))


@pytest.mark.parametrize("error", ERRORS, ids=lambda error: type(error).__name__)
def test_later_batches_are_smaller_at_once_and_it_is_said_once(error, caplog):
    machine = Machine([(10,)] * 64, most=25, error=error)
    with caplog.at_level(logging.INFO, "kalm_reranker"):
        machine.run_all()
    assert machine.costs == [80, 40] + [20] * 32
    assert sorted(machine.finished) == list(range(64))
    assert machine.splits == 2
    warnings = [record for record in caplog.records if record.levelno == logging.WARNING]
    assert len(warnings) == 1
    assert "at most 40 tokens" in warnings[0].getMessage()


def test_a_single_item_that_does_not_fit_is_a_typed_error():
    machine = Machine([(10,), (7,), (200,)], most=30)
    with pytest.raises(OutOfMemoryError, match=r"single passage of 200 tokens.*max_length") as info:
        machine.run_all()
    assert isinstance(info.value, MemoryError)
    assert isinstance(info.value, KalmRerankerError)
    assert machine.finished == []


def test_other_errors_are_not_taken_for_a_lack_of_memory():
    machine = Machine([(10,)] * 4, most=5, error=RuntimeError("mat1 and mat2 shapes differ"))
    with pytest.raises(RuntimeError, match="mat1 and mat2"):
        machine.run_all()
    assert machine.splits == 0


def test_the_failed_batchs_tensors_are_gone_before_the_next_attempt():
    held: list[weakref.ref[torch.Tensor]] = []

    def run(batch):
        assert all(tensor() is None for tensor in held)
        tensor = torch.zeros(len(batch))
        held.append(weakref.ref(tensor))
        if len(batch) > 2:
            raise MemoryError

    run_batches([(1,)] * 8, run, max_items=8, token_budget=100, what="pair")
    assert len(held) == 6


def test_passages_are_the_same_after_memory_ran_out(monkeypatch):
    texts = [f"passage {number} " + "word " * (number % 13) for number in range(40)]
    expected = KaLMReranker("pico", dtype="float32").encode(texts)
    original = Encoder.forward

    def forward(self, token_ids, mask):
        if mask.numel() > 60:
            raise RuntimeError(ALLOCATOR)
        return original(self, token_ids, mask)

    monkeypatch.setattr(Encoder, "forward", forward)
    states = KaLMReranker("pico", dtype="float32").encode(texts)
    assert states.token_counts == expected.token_counts
    torch.testing.assert_close(states.slots, expected.slots, rtol=1e-4, atol=1e-4)


UNDER_A_LIMIT = """
import logging
import resource
import sys

import torch

from kalm_reranker import KaLMReranker
from kalm_reranker.errors import OutOfMemoryError

logging.basicConfig(stream=sys.stdout, level=logging.WARNING)
reranker = KaLMReranker("pico", dtype=sys.argv[1], batch_size=512, token_budget=1_000_000)
words = "the sky is blue because light is scattered by air ".split()
texts = [" ".join(words[(i + j) % 10] for j in range(150 + i % 7)) for i in range(200)]
expected = reranker.encode(texts[:8]).slots, reranker.encode(texts[-8:]).slots  # also warms up
with open("/proc/self/statm") as file:
    taken = int(file.read().split()[0]) * resource.getpagesize()
resource.setrlimit(resource.RLIMIT_AS, (taken + int(sys.argv[2]) * 2**20, -1))
try:
    slots = reranker.encode(texts).slots
except OutOfMemoryError as error:
    print("refused:", error)
    raise SystemExit
resource.setrlimit(resource.RLIMIT_AS, (-1, -1))
ends = slots[: len(expected[0])], slots[-len(expected[1]) :]
for got, wanted in zip(ends, expected):
    torch.testing.assert_close(got, wanted, rtol=0.05, atol=0.05)
print("encoded", len(slots))
"""


def encode_under_a_limit(dtype: str, megabytes: int) -> str:
    process = subprocess.run(
        [sys.executable, "-c", UNDER_A_LIMIT, dtype, str(megabytes)],
        capture_output=True,
        text=True,
        timeout=240,
        env={**os.environ, "OMP_NUM_THREADS": "1"},  # threads take address space
    )
    assert process.returncode == 0, process.stderr
    return process.stdout


@pytest.mark.skipif(sys.platform != "linux", reason="limits the address space")
def test_a_real_lack_of_memory_makes_batches_smaller():
    output = encode_under_a_limit("float32", 192)  # all at once would take some 300 MB
    assert output.count("memory ran out") == 1
    assert "encoded" in output


@pytest.mark.skipif(sys.platform != "linux", reason="limits the address space")
def test_where_nothing_fits_the_error_is_typed():
    assert "refused: Memory ran out for the states" in encode_under_a_limit("float32", 0)
