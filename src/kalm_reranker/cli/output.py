"""How results are printed: a table for people, JSON lines for programs. Always on stdout."""

import io
import json
import sys
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Protocol

import typer
from rich.console import Console
from rich.table import Table
from rich.text import Text


@dataclass(frozen=True, kw_only=True)
class RankedRow:
    """One ranked passage.

    Args:
        rank: From 1.
        corpus_id: Position among the passages given, from 0.
        id: Its id in the file; None where it has none.
        score: P(yes), or the calibrated probability.
        margin: yes logit - no logit.
        text: The passage.
        raw_score: P(yes) where `score` is calibrated; None, and not printed, where it is not.
    """

    rank: int
    corpus_id: int
    id: str | None
    score: float
    margin: float
    text: str
    raw_score: float | None = None


def print_json_lines(rows: Sequence[RankedRow]) -> None:
    """Prints one JSON object per row."""
    for row in rows:
        values = asdict(row)
        if row.raw_score is None:
            del values["raw_score"]
        print_json(values)


def print_json(value: object, *, indent: int | None = None) -> None:
    """Prints a value as JSON, escaped where stdout's encoding cannot write it all.

    Args:
        value: What to print.
        indent: Spaces for each level; all in one line, if None.
    """
    readable = (sys.stdout.encoding or "").lower().replace("-", "") == "utf8"
    typer.echo(json.dumps(value, ensure_ascii=not readable, indent=indent))


def console() -> Console:
    """Returns a console on stdout that shows "?" for what the terminal cannot."""
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(errors="replace")
    return Console()


class Ranked(Protocol):
    """What a table shows of a ranked passage."""

    @property
    def rank(self) -> int:
        """From 1."""
        ...

    @property
    def score(self) -> float:
        """P(yes)."""
        ...

    @property
    def margin(self) -> float:
        """Yes logit - no logit."""
        ...

    @property
    def id(self) -> str | None:
        """Its name, if it has one."""
        ...

    @property
    def text(self) -> str | None:
        """The passage, if it is there."""
        ...


def print_table(rows: Sequence[Ranked], *, with_margin: bool) -> None:
    """Prints a table as wide as the terminal, each passage cut to one line."""
    # Expanded, or the passages would take the other columns' room.
    table = Table(box=None, pad_edge=False, expand=True)
    table.add_column("rank", justify="right", no_wrap=True)
    table.add_column("score", justify="right", no_wrap=True)
    if with_margin:
        table.add_column("margin", justify="right", no_wrap=True)
    with_ids = any(row.id is not None for row in rows)
    if with_ids:
        table.add_column("id", max_width=24, no_wrap=True, overflow="ellipsis")
    table.add_column("passage", no_wrap=True, overflow="ellipsis", ratio=1)
    for row in rows:
        cells = [str(row.rank), f"{row.score:.4f}"]
        cells += [f"{row.margin:+.3f}"] if with_margin else []
        cells += [row.id or ""] if with_ids else []
        # Passages may hold control characters and what looks like markup; both are shown as text.
        table.add_row(*[Text(one_line(cell)) for cell in [*cells, row.text or ""]])
    console().print(table)


def one_line(text: str) -> str:
    """Returns a text as one line of printable characters, its first thousand."""
    printable = (char if char.isprintable() else " " for char in text[:1000])
    return " ".join("".join(printable).split())
