"""The result file of `quality.py`: what is in it, how it is kept, how it reads as a table."""

import json
import os
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from machine import Machine, describe

FIRST_STAGE = "BM25"


@dataclass(frozen=True, kw_only=True)
class Settings:
    """What must be equal for the numbers of two runs to stand in one table.

    Attributes:
        model: Name as given, with the content hash of its files in `fingerprint`.
        ratios: Compression ratios, in the order of the columns.
        top_k: BM25 candidates of each query; every ranker orders the same ones.
        max_queries: First queries of each set, None for all.
    """

    model: str
    fingerprint: str
    device: str
    dtype: str
    ratios: list[int]
    max_length: int
    query_max_length: int
    top_k: int
    max_queries: int | None
    split: str


@dataclass(frozen=True, kw_only=True)
class SetResult:
    """The numbers of one collection.

    Attributes:
        ndcg_at_10: Column -> mean nDCG@10.
        candidates_recall_at_100: The share of relevant passages among the candidates' first 100,
            which no ranker can exceed.
        num_encoded: Passages that were a candidate of some query.
        num_truncated: Of these, cut at `max_length`.
        num_queries_truncated: Queries cut at `query_max_length`.
        seconds: Wall clock by step.
    """

    num_passages: int
    num_queries: int
    num_encoded: int
    num_truncated: int
    num_queries_truncated: int
    candidates_recall_at_100: float
    ndcg_at_10: dict[str, float]
    seconds: dict[str, float]


@dataclass(kw_only=True)
class Results:
    """Everything a run of the benchmark writes."""

    settings: Settings
    machine: Machine
    sets: dict[str, SetResult] = field(default_factory=dict)

    @classmethod
    def load_or_new(cls, path: Path, settings: Settings, machine: Machine) -> "Results":
        """Returns the results so far, to go on with, or empty ones.

        Raises:
            SystemExit: The file holds results of other settings.
        """
        if not path.is_file():
            return cls(settings=settings, machine=machine)
        stored = json.loads(path.read_text(encoding="utf-8"))
        ours = asdict(settings)
        different = [name for name in ours if stored["settings"].get(name) != ours[name]]
        if different:
            name = different[0]
            raise SystemExit(
                f"error: {path} holds results for {name} = {stored['settings'].get(name)!r}; "
                f"this run has {ours[name]!r}.\nhint: give another --output, or delete that file"
            )
        sets = {name: SetResult(**values) for name, values in stored["sets"].items()}
        return cls(settings=settings, machine=machine, sets=sets)

    def save(self, path: Path) -> None:
        """Writes the JSON file and, beside it, the table in Markdown; each whole or not at all."""
        path.parent.mkdir(parents=True, exist_ok=True)
        document: dict[str, Any] = {
            "settings": asdict(self.settings),
            "machine": self.machine,
            "sets": {name: asdict(result) for name, result in self.sets.items()},
        }
        _write_whole(path, json.dumps(document, indent=2) + "\n")
        _write_whole(path.with_suffix(".md"), self.markdown())

    def columns(self) -> list[str]:
        """Returns the rankers in the order of the table."""
        alone = [column_name(self.settings.model, ratio) for ratio in self.settings.ratios]
        return [FIRST_STAGE, *alone, *(blend_name(name) for name in alone)]

    def rows(self) -> list[list[str]]:
        """Returns the cells of the table: one row a set and the mean over sets at the end."""
        columns = self.columns()
        rows = [
            [
                name,
                str(result.num_queries),
                f"{result.candidates_recall_at_100:.3f}",
                *(f"{result.ndcg_at_10[column]:.4f}" for column in columns),
            ]
            for name, result in self.sets.items()
        ]
        if len(self.sets) > 1:
            count = len(self.sets)
            recall = sum(r.candidates_recall_at_100 for r in self.sets.values()) / count
            means = [
                sum(result.ndcg_at_10[column] for result in self.sets.values()) / count
                for column in columns
            ]
            total = sum(result.num_queries for result in self.sets.values())
            rows.append(
                [f"mean of {count}", str(total), f"{recall:.3f}", *(f"{m:.4f}" for m in means)]
            )
        return rows

    def header(self) -> list[str]:
        """Returns the names over the cells of `rows`."""
        return ["set", "queries", "R@100", *self.columns()]

    def caption(self) -> str:
        """Returns what the numbers are, in two lines."""
        settings = self.settings
        queries = f"first {settings.max_queries}" if settings.max_queries else "all"
        return (
            f"nDCG@10; {settings.model} ({settings.dtype} on {settings.device}), passages cut at "
            f"{settings.max_length} tokens, queries at {settings.query_max_length}, BM25 top-"
            f"{settings.top_k} candidates, {queries} queries of split {settings.split}.\n"
            f"{describe(self.machine)}."
        )

    def markdown(self) -> str:
        """Returns the table in Markdown, the best ranker of each row in bold."""
        header = self.header()
        first = len(header) - len(self.columns())
        lines = ["| " + " | ".join(header) + " |", "|---" + "|---:" * (len(header) - 1) + "|"]
        for row in self.rows():
            best = max(row[first:])
            cells = row[:first] + [f"**{c}**" if c == best else c for c in row[first:]]
            lines.append("| " + " | ".join(cells) + " |")
        return self.caption() + "\n\n" + "\n".join(lines) + "\n"


def column_name(model: str, ratio: int) -> str:
    """Returns the name of a reranker alone at a compression ratio."""
    return f"{Path(model).name} r={ratio}"


def blend_name(column: str) -> str:
    """Returns the name of the sum of z-scores of BM25 and a reranker."""
    return f"{FIRST_STAGE} + {column}"


def _write_whole(path: Path, text: str) -> None:
    temporary = path.with_name(f"{path.name}.tmp")
    temporary.write_text(text, encoding="utf-8", newline="\n")
    os.replace(temporary, path)
