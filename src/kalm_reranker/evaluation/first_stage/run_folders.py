"""Where the run of a dataset lies: in the file given, or in the given folder by its name."""

from pathlib import Path

from kalm_reranker.errors import DataFileError
from kalm_reranker.lines import existing_file


def run_path(path: Path, dataset: str) -> Path:
    """Returns the file of a dataset's run.

    Args:
        path: The file itself, or a folder with a `<dataset>.trec` or `<dataset>.trec.gz` for each
            dataset.
        dataset: Its name; a slash in it, as in `beir/nfcorpus`, is an underscore in the file's.

    Raises:
        DataFileError: There is none.
    """
    if path.is_dir():
        expected = path / f"{dataset.replace('/', '_')}.trec"
        found = existing_file(expected)
        if found is None:
            raise DataFileError(
                f"{path} holds no run for the dataset {dataset!r}: there is neither "
                f"{expected.name} nor {expected.name}.gz.",
                hint="Name the run's file after the dataset.",
            )
        return found
    if not path.is_file():
        raise DataFileError(f"There is no file or folder {path}.", hint="Check the path.")
    return path
