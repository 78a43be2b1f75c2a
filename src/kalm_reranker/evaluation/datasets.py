"""What is to be evaluated on: from the words of a command to judged collections."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from kalm_reranker.errors import InvalidOptionError
from kalm_reranker.evaluation.beir import is_beir_directory, load_beir
from kalm_reranker.evaluation.collection import Collection


@dataclass(frozen=True, kw_only=True)
class Dataset:
    """A judged collection that is read when it is needed.

    Attributes:
        name: What it is called in tables; unique among the datasets of one evaluation.
        source: Where it comes from, as given: a directory, `irds:...`, `mteb:...`.
        split: Which judgements.
        instruction: Task instruction for instruction-aware rankers; None for each model's own.
        instruction_source: Where the instruction was published; None where there is none.
        group: What its numbers are averaged in, outermost first, for example
            `("lmeb", "episodic", "EPBench")`; empty for a dataset of its own.
        load: Reads it. Raises what is wrong with the data (`DataFileError`), or that they cannot
            be had (`DatasetUnavailableError`).
    """

    name: str
    source: str
    split: str
    instruction: str | None
    load: Callable[[], Collection]
    instruction_source: str | None = None
    group: tuple[str, ...] = ()


def resolve_datasets(
    specs: Sequence[str] = (),
    *,
    split: str | None = None,
    instruction: str | None = None,
) -> list[Dataset]:
    """Returns the datasets that were asked for, in order; nothing is read yet.

    Args:
        specs: A BEIR directory, or a folder that holds several (all of them, by name).
        split: Which judgements; None for `test`.
        instruction: Task instruction of all of them.

    Raises:
        InvalidOptionError: A spec names nothing, or two datasets have one name.
    """
    split = split or "test"
    found = []
    for spec in specs:
        for directory in beir_directories(Path(spec)):
            found.append(_from_directory(directory, split=split, instruction=instruction))
    _refuse_same_names(found)
    return found


def beir_directories(path: Path) -> list[Path]:
    """Returns the directory itself if it is in BEIR form, or those inside it that are, by name.

    Raises:
        InvalidOptionError: There is none.
    """
    if is_beir_directory(path):
        return [path]
    inside = sorted(entry for entry in path.glob("*") if is_beir_directory(entry))
    if inside:
        return inside
    raise InvalidOptionError(
        f"{str(path)!r} is no dataset: neither it nor a folder in it has a corpus.jsonl.",
        hint="A BEIR directory has corpus.jsonl, queries.jsonl and qrels/<split>.tsv.",
    )


def _from_directory(directory: Path, *, split: str, instruction: str | None) -> Dataset:
    name = directory.resolve().name
    return Dataset(
        name=name,
        source=str(directory),
        split=split,
        instruction=instruction,
        load=lambda: load_beir(directory, split=split, name=name),
    )


def _refuse_same_names(datasets: Sequence[Dataset]) -> None:
    sources: dict[str, str] = {}
    for dataset in datasets:
        if dataset.name in sources:
            raise InvalidOptionError(
                f"datasets must have different names; {sources[dataset.name]} and "
                f"{dataset.source} are both called {dataset.name!r}.",
                hint="Name each once, or rename one of the folders.",
            )
        sources[dataset.name] = dataset.source
