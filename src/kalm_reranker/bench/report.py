"""What a benchmark found; plain data that goes to JSON and back."""

import statistics
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from typing import Any

from kalm_reranker.analytic_cost import AnalyticCost
from kalm_reranker.bench.settings import JOINT, OFFICIAL, OURS
from kalm_reranker.errors import InvalidOptionError
from kalm_reranker.machine import Machine

SCHEMA_VERSION = 1

# Where passage states come from while the clock runs.
ENCODED = "encoded"  # every candidate is encoded for every query
STORED = "stored"  # states are there; the decoder alone runs
CACHED = "prefix cached"  # so are the keys and values of the prompt before the query
TOGETHER = "together"  # query and passage in one sequence: nothing can be stored


@dataclass(frozen=True, kw_only=True)
class Way:
    """One way to score candidates.

    Args:
        path: "official", "cross-encoder" or "ours".
        passages: What is done about the passages: one of the constants above.
        dtype: In which dtype.
    """

    path: str
    passages: str
    dtype: str

    @property
    def title(self) -> str:
        """What tables and plots call it, without the dtype."""
        names = {
            (OFFICIAL, ENCODED): "official, encoding",
            (OFFICIAL, STORED): "official, states given",
            (JOINT, TOGETHER): "joint cross-encoder",
            (OURS, ENCODED): "ours, encoding",
            (OURS, STORED): "ours, states stored",
            (OURS, CACHED): "ours, prefix cached",
        }
        return names[self.path, self.passages]


@dataclass(frozen=True, kw_only=True)
class Measurement:
    """How long one way took at one length and ratio.

    Args:
        way: Which.
        length: Tokens of each passage.
        ratio: Tokens per slot; None where there are no slots.
        candidates: How many the times below are told for.
        measured: How many were really scored: fewer than `candidates` where time was short.
        seconds: Of each round, for the candidates that were scored.
    """

    way: Way
    length: int
    ratio: int | None
    candidates: int
    measured: int
    seconds: tuple[float, ...]

    @property
    def extrapolated(self) -> bool:
        """Whether fewer candidates were scored than the times are told for."""
        return self.measured < self.candidates

    @property
    def median_s(self) -> float:
        """Median over rounds, for all candidates."""
        return statistics.median(self.seconds) * self.candidates / self.measured

    @property
    def best_s(self) -> float:
        """Best round, for all candidates."""
        return min(self.seconds) * self.candidates / self.measured


@dataclass(frozen=True, kw_only=True)
class MemoryPeak:
    """Most memory that a process took that did nothing else, model and libraries included.

    Args:
        way: What it did.
        length: Tokens of each passage.
        ratio: Tokens per slot.
        candidates: How many it scored.
        host_bytes: Main memory; None where the system does not tell.
        device_bytes: Memory of the GPU that PyTorch took; None without one.
    """

    way: Way
    length: int
    ratio: int
    candidates: int
    host_bytes: int | None
    device_bytes: int | None


@dataclass(frozen=True, kw_only=True)
class ModelSizes:
    """The model that was measured.

    Args:
        name: As asked for.
        random_weights: Whether it was a shape, filled with random numbers.
        layers: Of the decoder.
        width: D.
        joint_layers: Layers of the cross-encoder it is compared with.
        encoder_parameters: Without the embedding table.
        decoder_parameters: Without the embedding table.
        embedding_parameters: Of the one table that both share.
    """

    name: str
    random_weights: bool
    layers: int
    width: int
    joint_layers: int
    encoder_parameters: int
    decoder_parameters: int
    embedding_parameters: int


@dataclass(frozen=True, kw_only=True)
class BenchReport:
    """Everything a benchmark found.

    Args:
        model: Its sizes.
        settings: What was asked for.
        machine: Hardware and versions; see `machine.py`.
        device: Device everything ran on.
        engine: How our model and the cross-encoder were executed, and why so.
        prompt_tokens: Tokens that the decoder reads, the query among them.
        ratio: Compression ratio of the measurements over lengths.
        lengths: Lengths measured at that ratio.
        ratios: Ratios measured at the longest of them.
        ways: In the order they are shown.
        measurements: One for each way and point that was reached.
        memory: One for each way, if it was wanted and reached.
        margin_difference: Largest difference between the margins of our way and the official one
            in the same dtype, over a few passages; None where not both ran.
        load_before: Load average of the machine at the start; above 0, others were at work.
        load_after: The same at the end.
        interrupted: Whether the user stopped it.
        notes: What else a reader of the numbers has to know.
    """

    model: ModelSizes
    settings: dict[str, Any]
    machine: Machine
    device: str
    engine: str
    prompt_tokens: int
    ratio: int
    lengths: tuple[int, ...]
    ratios: tuple[int, ...]
    ways: tuple[Way, ...]
    measurements: tuple[Measurement, ...]
    memory: tuple[MemoryPeak, ...]
    margin_difference: float | None
    load_before: float | None
    load_after: float | None
    interrupted: bool
    notes: tuple[str, ...]

    @property
    def longest(self) -> int:
        """The length at which ratios and memory were measured."""
        return self.lengths[-1]

    def find(self, way: Way, length: int, ratio: int) -> Measurement | None:
        """Returns a measurement; those of the cross-encoder fit every ratio."""
        for one in self.measurements:
            if (one.way, one.length) == (way, length) and one.ratio in (None, ratio):
                return one
        return None

    def way(self, path: str, passages: str) -> Way | None:
        """Returns the first way of this kind; of the official ones that is its default dtype."""
        return next((w for w in self.ways if (w.path, w.passages) == (path, passages)), None)

    @property
    def analytic(self) -> AnalyticCost:
        """The paper's cost of this model, with every token that the decoder reads counted."""
        return AnalyticCost(
            decoder_layers=self.model.layers,
            joint_layers=self.model.joint_layers,
            width=self.model.width,
            query_tokens=self.prompt_tokens,
        )

    @property
    def seconds_per_unit(self) -> float | None:
        """Seconds that a unit of the analytic cost stands for; None without a cross-encoder.

        One factor for both curves: that which makes the cost of the cross-encoder at the longest
        length the time it was measured to take there.
        """
        joint = self.way(JOINT, TOGETHER)
        found = joint and self.find(joint, self.longest, self.ratio)
        return found.median_s / self.analytic.joint(self.longest) if found else None

    def as_dict(self) -> dict[str, Any]:
        """Returns what `json.dumps` takes, derived numbers included."""
        document = asdict(self)
        for row, one in zip(document["measurements"], self.measurements, strict=True):
            row |= {
                "median_s": one.median_s,
                "best_s": one.best_s,
                "extrapolated": one.extrapolated,
            }
        points = {(length, self.ratio) for length in self.lengths}
        points |= {(self.longest, ratio) for ratio in self.ratios}
        document["analytic"] = {
            "seconds_per_unit": self.seconds_per_unit,
            "joint_layers": self.model.joint_layers,
            "query_tokens": self.prompt_tokens,
            "speedup": [
                {"length": n, "ratio": r, "speedup": self.analytic.speedup(n, r)}
                for n, r in sorted(points)
            ],
        }
        return {"schema_version": SCHEMA_VERSION, **document}

    @classmethod
    def from_dict(cls, document: dict[str, Any]) -> "BenchReport":
        """Reads what `as_dict` returned, also after a round trip through JSON.

        Raises:
            InvalidOptionError: It is of another version.
        """
        if document.get("schema_version") != SCHEMA_VERSION:
            raise InvalidOptionError(
                f"schema_version must be {SCHEMA_VERSION}; got {document.get('schema_version')!r}."
            )
        values = {name: document[name] for name in cls.__dataclass_fields__}
        values["model"] = ModelSizes(**values["model"])
        for name in ("lengths", "ratios", "notes"):
            values[name] = tuple(values[name])
        values["ways"] = tuple(Way(**way) for way in values["ways"])
        values["measurements"] = tuple(_rows(Measurement, values["measurements"]))
        values["memory"] = tuple(_rows(MemoryPeak, values["memory"]))
        return cls(**values)


def _rows(kind: type[Any], rows: Iterable[dict[str, Any]]) -> Iterable[Any]:
    for row in rows:
        fields = {name: row[name] for name in kind.__dataclass_fields__}
        fields["way"] = Way(**fields["way"])
        if "seconds" in fields:
            fields["seconds"] = tuple(fields["seconds"])
        yield kind(**fields)
