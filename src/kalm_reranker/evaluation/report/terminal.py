"""Shows the main table on a console, in as many parts as its width needs."""

from collections.abc import Sequence

from rich.box import SIMPLE_HEAD
from rich.cells import cell_len
from rich.console import Console
from rich.table import Table
from rich.text import Text

from kalm_reranker.evaluation.report.summary import baseline_of, main_measure
from kalm_reranker.evaluation.report.tables import BETTER, WORSE, QualityTable, quality_table
from kalm_reranker.evaluation.report.wording import SIGNIFICANT, plural
from kalm_reranker.evaluation.results import Evaluation

_NAME_WIDTH = 22  # of a set, at most
_WIDEST = 14  # of a ranker's name; longer words are broken
_NUMBER = 7  # a number and its mark
_GAP = 2  # between columns: one of padding, one where a line would be


def render_table(evaluation: Evaluation, console: Console) -> None:
    """Prints the main measure of every ranker on every set, and the means.

    Tables that would be wider than the console are printed in parts, each with the first ranker,
    which the others are read against.

    Args:
        evaluation: What was found.
        console: Where to; its width decides about the parts.
    """
    table = quality_table(evaluation, main_measure(evaluation))
    head = f"{table.title} on {plural(len(evaluation.datasets), 'set')}"
    console.print(Text(head, style="bold"))
    console.print(Text(f"Candidates of every ranker: {evaluation.first_stage}"))
    names = [info.name for info in evaluation.rankers]
    for columns in parts(names, _first_width(table), console.width):
        console.print()
        console.print(_part(table, names, columns))
    notes = ["Bold: the best of a row, over all rankers."]
    if table.marked:
        notes.append(
            f"{BETTER} {WORSE} significantly better or worse than {baseline_of(evaluation)} "
            f"(p < {SIGNIFICANT})."
        )
    console.print()
    console.print(Text(" ".join(notes), style="dim"))


def parts(names: Sequence[str], first_width: int, width: int) -> list[list[int]]:
    """Splits columns into parts that fit a width, the first column in each.

    Args:
        names: Of all columns.
        first_width: Of the column of row names.
        width: Of the console.

    Returns:
        Positions of the columns of each part; each has at least one besides the first.
    """
    if not names:
        return []
    room = width - first_width - _GAP - _column_width(names[0]) - _GAP
    found, used = [[0]], 0
    for index, name in enumerate(names[1:], 1):
        needs = _column_width(name) + _GAP
        if len(found[-1]) > 1 and used + needs > room:
            found.append([0])
            used = 0
        found[-1].append(index)
        used += needs
    return found


def _part(table: QualityTable, names: Sequence[str], columns: Sequence[int]) -> Table:
    shown = Table(box=SIMPLE_HEAD, show_edge=False, pad_edge=False, padding=(0, _GAP - 1, 0, 0))
    shown.add_column("", width=_first_width(table), overflow="ellipsis", no_wrap=True)
    for index in columns:
        shown.add_column(
            Text(names[index]),
            justify="right",
            width=_column_width(names[index]),
            overflow="fold",
        )
    rows = [*table.rows]
    if table.means is not None:
        rows.append((f"mean of {len(table.rows)}", table.means))
    for at, (name, cells) in enumerate(rows):
        if table.means is not None and at == len(table.rows):
            shown.add_section()
        texts = []
        for index in columns:
            mark = cells[index].mark or (" " if table.marked else "")
            style = "bold" if cells[index].best else ""
            texts.append(Text(cells[index].text + mark, style=style))
        shown.add_row(Text(name), *texts)
    return shown


def _first_width(table: QualityTable) -> int:
    names = [name for name, _ in table.rows] + [f"mean of {len(table.rows)}"]
    return min(max(cell_len(name) for name in names), _NAME_WIDTH)


def _column_width(name: str) -> int:
    longest = max((cell_len(word) for word in name.split()), default=0)
    return max(_NUMBER, min(longest, _WIDEST))
