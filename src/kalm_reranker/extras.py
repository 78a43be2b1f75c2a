"""Imports of optional dependencies, with an error that says how to install them."""

from importlib import import_module
from types import ModuleType

from kalm_reranker.errors import MissingExtraError


def import_extra(module: str, *, extra: str, purpose: str) -> ModuleType:
    """Returns an optional module.

    Call it where the module is used, never at the top of a file: importing the package must not
    need, or pay for, an extra.

    Args:
        module: Import name, for example `bm25s`.
        extra: The extra of this package that installs it, for example `demo`.
        purpose: What it is needed for, as the subject of the message ("BM25 retrieval").

    Raises:
        MissingExtraError: The module is not installed.
    """
    try:
        return import_module(module)
    except ModuleNotFoundError as error:
        # A module that is installed but misses something of its own is another problem, which
        # this message would hide.
        if error.name is None or error.name.split(".")[0] != module.split(".")[0]:
            raise
        raise MissingExtraError(
            f"{purpose} needs the Python module {module!r}, which is not installed.",
            hint=f'pip install "kalm-reranker[{extra}]"',
        ) from error
