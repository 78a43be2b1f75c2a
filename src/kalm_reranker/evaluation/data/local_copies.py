"""Copies of public collections on this machine, read in place of a download."""

from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path

from kalm_reranker.errors import DataFileError
from kalm_reranker.evaluation.data.beir import is_beir_directory, load_beir
from kalm_reranker.evaluation.data.collection import Collection
from kalm_reranker.evaluation.data.lmeb_files import is_lmeb_folder, load_lmeb


def find_copy(data: Path, folders: Iterable[str]) -> Path | None:
    """Returns the first of these folders below `data` that holds a collection.

    Args:
        data: The user's folder.
        folders: Paths below it; case is ignored.
    """
    for folder in folders:
        found = _below(data, folder)
        if found is not None and (is_beir_directory(found) or is_lmeb_folder(found)):
            return found
    return None


def load_copy(
    folder: Path,
    *,
    name: str,
    split: str,
    excludes_own_id: bool,
    num_passages: int | None = None,
    num_queries: int | None = None,
) -> Collection:
    """Returns the collection of a copy; its notes say that it is one, and whether it is whole.

    Args:
        folder: What `find_copy` returned.
        name: What to call it.
        split: Which judgements.
        excludes_own_id: See `Collection`.
        num_passages: Of the published collection; None where that is not known.
        num_queries: Of the published collection.

    Raises:
        DataFileError: A file is missing or a line is not what it should be.
    """
    if is_lmeb_folder(folder):
        collection = load_lmeb(folder, name=name)
    else:
        collection = load_beir(folder, split=split, name=name, excludes_own_id=excludes_own_id)
    notes = [f"Read from the local copy {folder}, not downloaded."]
    found = (len(collection.passages), len(collection.queries))
    if (
        num_passages is not None
        and num_queries is not None
        and found != (num_passages, num_queries)
    ):
        notes.append(
            f"The copy has {found[0]:,} passages and {found[1]:,} judged queries, the published "
            f"collection {num_passages:,} and {num_queries:,}: its numbers are not comparable with "
            "published ones."
        )
    return replace(collection, notes=(*notes, *collection.notes))


def _below(folder: Path, relative: str) -> Path | None:
    """Returns a folder by its path without regard to case; an exact name comes first."""
    for part in relative.split("/"):
        exact = folder / part
        if exact.is_dir():
            folder = exact
            continue
        try:
            entries = sorted(folder.iterdir())
        except OSError as error:
            raise DataFileError(
                f"{folder} cannot be read: {error.strerror or error}.",
                hint="Check the path and its permissions.",
            ) from error
        same = [one for one in entries if one.name.casefold() == part.casefold() and one.is_dir()]
        if not same:
            return None
        folder = same[0]
    return folder
