"""What an evaluation found, as plain data: written as JSON and CSV, shown as tables and plots."""

from collections.abc import Callable, Iterable
from dataclasses import asdict, dataclass
from typing import Any, Literal, TypeAlias

from kalm_reranker.errors import InvalidOptionError
from kalm_reranker.machine import Machine

SCHEMA_VERSION = 1

RankerKind: TypeAlias = Literal[
    "first stage",
    "kalm",
    "blend",
    "cascade",
    "cross-encoder",
    "embedding",
    "late interaction",
    "run",
]


@dataclass(frozen=True, kw_only=True)
class RankerInfo:
    """One column of the table: something that orders the candidates.

    Attributes:
        name: Unique within an evaluation, for example `pico r=2`.
        kind: What it is.
        model: The model's name as given; None for a first stage or a run file.
        compression_ratio: Tokens per slot of a KaLM model; the fine one of a cascade.
        codec: How states are stored, for KaLM models.
        coarse_ratio: Of a cascade's first pass over all candidates.
        fine_count: Candidates of a cascade's second pass.
        settings: What else is needed to repeat it: fingerprint, dtype, lengths, k1, b, ...
    """

    name: str
    kind: RankerKind
    model: str | None = None
    compression_ratio: int | None = None
    codec: str | None = None
    coarse_ratio: int | None = None
    fine_count: int | None = None
    settings: dict[str, Any]


@dataclass(frozen=True, kw_only=True)
class DatasetInfo:
    """One row of the table: a judged collection, with its candidates.

    Attributes:
        name: Unique within an evaluation.
        source: Where it came from, as given: a directory, `irds:...`, `mteb:...`.
        split: Which judgements.
        instruction: Task instruction given to instruction-aware rankers; None for each model's own.
        num_passages: In the collection.
        num_queries: With a relevant passage.
        num_candidates: Query-passage pairs to score.
        num_candidate_passages: Distinct passages among them, the ones that are encoded.
        notes: What a reader of the numbers has to know: dropped queries, unknown documents, ...
        group: What its numbers are averaged in first, outermost first, for example
            `("lmeb", "dialogue", "LoCoMo")`; empty for a dataset of its own.
    """

    name: str
    source: str
    split: str
    instruction: str | None
    num_passages: int
    num_queries: int
    num_candidates: int
    num_candidate_passages: int
    notes: tuple[str, ...] = ()
    group: tuple[str, ...] = ()


@dataclass(frozen=True, kw_only=True)
class ScoreDistribution:
    """How the scores of relevant candidates lie against those of the others, over all queries.

    A histogram of scores in equal bins; `edges` has one value more than the counts.

    Attributes:
        edges: Bounds of the bins, ascending.
        relevant: Candidates judged relevant, by bin.
        other: The others, judged or not, by bin.
    """

    edges: tuple[float, ...]
    relevant: tuple[int, ...]
    other: tuple[int, ...]


@dataclass(frozen=True, kw_only=True)
class Measurement:
    """One ranker on one dataset.

    Attributes:
        dataset: Name of the dataset.
        ranker: Name of the ranker.
        measures: Name as in `MEASURES` -> mean over all judged queries; ROC-AUC, of all
            candidates at once, only where it has a meaning.
        distribution: Of its scores; None where it was not asked for.
        bytes_per_passage: Mean bytes of a candidate's stored states (or vectors); None where
            nothing is stored.
        ms_per_query: Median time of scoring one query's candidates, reading states included; None
            where it was not measured.
        seconds: Wall clock by step of this evaluation, without what was there from before.
    """

    dataset: str
    ranker: str
    measures: dict[str, float]
    distribution: ScoreDistribution | None = None
    bytes_per_passage: float | None = None
    ms_per_query: float | None = None
    seconds: dict[str, float]


@dataclass(frozen=True, kw_only=True)
class Comparison:
    """Two rankers on one dataset, query by query.

    Attributes:
        dataset: Name of the dataset.
        ranker: Name of the one.
        baseline: Name of the other.
        measure: What was compared.
        difference: Mean over queries of ranker minus baseline.
        low: Lower end of the 95% interval of the difference.
        high: Upper end.
        p_value: Two-sided.
        test: How both were computed, for example `paired t-test`.
        wins: Queries on which the ranker is better.
        losses: Queries on which the baseline is.
        num_queries: Compared queries.
    """

    dataset: str
    ranker: str
    baseline: str
    measure: str
    difference: float
    low: float
    high: float
    p_value: float
    test: str
    wins: int
    losses: int
    num_queries: int


@dataclass(frozen=True, kw_only=True)
class OnlineCost:
    """Time of one query against what the paper's formula says, for one model and ratio.

    Attributes:
        dataset: Whose queries and candidates were timed.
        model: Name of the model.
        way: What is done with a passage: `stored` (states from the store), `prefix cached`, or
            `encoded` (states made for the query, as joint rerankers have to).
        compression_ratio: Tokens per slot.
        num_candidates: Passages scored for a query, on average.
        passage_tokens: Mean tokens of one.
        query_tokens: Mean tokens that the decoder reads, prompt included.
        measured_ms: Median time of a query.
        analytic: The formula's cost of the candidates of a query, in units of a joint cross-encoder
            of the same size (so 0.1 is ten times cheaper); None where it says
            nothing: it knows neither a prefix cache nor encoding for one query.
        measured: The measured time in units of the time of `encoded`; None where that was not
            measured.
    """

    dataset: str
    model: str
    way: str
    compression_ratio: int
    num_candidates: float
    passage_tokens: float
    query_tokens: float
    measured_ms: float
    analytic: float | None
    measured: float | None


@dataclass(frozen=True, kw_only=True)
class Evaluation:
    """Everything an evaluation found.

    Attributes:
        settings: What was asked for.
        machine: Hardware and versions.
        first_stage: How candidates were found, in words (engine, k1, b, analyser, depth).
        datasets: Rows, in order.
        rankers: Columns, in order; the first is the first stage.
        measurements: One for each ranker and dataset that was finished.
        comparisons: Against the baseline, where one was asked for.
        costs: Where they were asked for.
        notes: What holds for all numbers.
    """

    settings: dict[str, Any]
    machine: Machine
    first_stage: str
    datasets: tuple[DatasetInfo, ...]
    rankers: tuple[RankerInfo, ...]
    measurements: tuple[Measurement, ...]
    comparisons: tuple[Comparison, ...] = ()
    costs: tuple[OnlineCost, ...] = ()
    notes: tuple[str, ...] = ()

    def find(self, dataset: str, ranker: str) -> Measurement | None:
        """Returns what one ranker reached on one dataset; None where it was not run."""
        for one in self.measurements:
            if one.dataset == dataset and one.ranker == ranker:
                return one
        return None

    def mean(self, ranker: str, measure: str) -> float | None:
        """Returns a ranker's mean of a measure; see `mean_of`."""
        return self.mean_of(ranker, lambda found: found.measures.get(measure))

    def mean_of(self, ranker: str, value_of: Callable[[Measurement], float | None]) -> float | None:
        """Returns a ranker's mean of a value over datasets; None where one has none.

        Datasets that are parts of one task (`group`) are averaged first, then the tasks, each with
        the same weight.
        """
        tasks: dict[tuple[str, ...], list[float]] = {}
        for dataset in self.datasets:
            found = self.find(dataset.name, ranker)
            value = None if found is None else value_of(found)
            if value is None:
                return None
            tasks.setdefault(dataset.group or (dataset.name,), []).append(value)
        means = [sum(values) / len(values) for values in tasks.values()]
        return sum(means) / len(means) if means else None

    def as_dict(self) -> dict[str, Any]:
        """Returns it as JSON can hold it."""
        return {"schema_version": SCHEMA_VERSION, **asdict(self)}

    @classmethod
    def from_dict(cls, document: dict[str, Any]) -> "Evaluation":
        """Reads what `as_dict` returned, also after a round trip through JSON.

        Raises:
            InvalidOptionError: It is of another version.
        """
        if document.get("schema_version") != SCHEMA_VERSION:
            raise InvalidOptionError(
                f"schema_version must be {SCHEMA_VERSION}; got {document.get('schema_version')!r}.",
                hint="Run the evaluation again with this version.",
            )
        values = {name: document[name] for name in cls.__dataclass_fields__}
        values["datasets"] = _rows(DatasetInfo, values["datasets"])
        values["rankers"] = _rows(RankerInfo, values["rankers"])
        values["measurements"] = _rows(Measurement, values["measurements"])
        values["comparisons"] = _rows(Comparison, values["comparisons"])
        values["costs"] = _rows(OnlineCost, values["costs"])
        values["notes"] = tuple(values["notes"])
        return cls(**values)


def _rows(kind: type[Any], rows: Iterable[dict[str, Any]]) -> tuple[Any, ...]:
    return tuple(_row(kind, row) for row in rows)


def _row(kind: type[Any], row: dict[str, Any]) -> Any:  # noqa: ANN401
    fields = {name: row[name] for name in kind.__dataclass_fields__}
    for name, value in fields.items():
        if isinstance(value, list):
            fields[name] = tuple(value)
    if fields.get("distribution") is not None:
        fields["distribution"] = _row(ScoreDistribution, fields["distribution"])
    return kind(**fields)
