"""The progress bar of an add: passages a second, time left, and what was not encoded."""

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from kalm_reranker.index.report import AddReport
from kalm_reranker.index.sources.record import Source


@contextmanager
def adding_bar(source: Source, *, show: bool | None) -> Iterator[Callable[[AddReport], None]]:
    """Yields a function that is told the counts so far.

    Args:
        source: Counted for the time left, where that is cheap.
        show: True or False; None shows the bar when stderr is a terminal.
    """
    if show is None:
        show = sys.stderr is not None and sys.stderr.isatty()
    if not show:
        yield lambda report: None
        return
    from tqdm.auto import tqdm

    with tqdm(
        total=source.count(), desc="add", unit=" passages", leave=False, dynamic_ncols=True
    ) as bar:

        def tell(report: AddReport) -> None:
            if bar.total is not None:
                # Lines are counted before they are read: empty ones make it a little high.
                bar.total = max(bar.total, report.num_records)
            counts = {
                "unchanged": report.unchanged,
                "replaced": report.replaced,
                "truncated": report.truncated,
                "problems": report.num_problems,
            }
            bar.set_postfix({name: n for name, n in counts.items() if n}, refresh=False)
            bar.update(report.num_records - bar.n)

        yield tell
