"""Progress bars on stderr, for lists long enough that somebody would wait."""

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager

_WORTH_SHOWING = 200  # items; about a second on a laptop with the smallest model


@contextmanager
def progress_bar(
    total: int, *, label: str, unit: str, show: bool | None
) -> Iterator[Callable[[int], None]]:
    """Yields a function that is told how many more items are done.

    Args:
        total: Number of items.
        label: What is being done, such as "encode".
        unit: What an item is, such as "passages".
        show: True or False; None shows it for long lists when stderr is a terminal.
    """
    if show is None:
        show = total >= _WORTH_SHOWING and sys.stderr is not None and sys.stderr.isatty()
    if not show:
        yield lambda count: None
        return
    from tqdm.auto import tqdm

    with tqdm(total=total, desc=label, unit=f" {unit}", leave=False, dynamic_ncols=True) as bar:
        yield lambda count: bar.update(count) and None
