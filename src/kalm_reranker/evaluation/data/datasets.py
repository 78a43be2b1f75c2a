"""What is to be evaluated on: from the words of a command to judged collections.

FOLDER                      a directory in BEIR form, or a folder that holds several
demo                        the bundled collection, where no folder has this name
irds:beir/scifact/test      an id of ir_datasets
mteb:SciFact                a task of mteb, all its subsets
mteb:MIRACLRetrieval/de     one subset of it
benchmark "miracl"          all parts of a benchmark (evaluation/data/benchmarks.py)
"""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

from kalm_reranker.errors import InvalidOptionError
from kalm_reranker.evaluation.data.beir import is_beir_directory, load_beir
from kalm_reranker.evaluation.data.benchmarks import (
    DEFAULT_SUBSET,
    Part,
    benchmark_parts,
    did_you_mean,
    known_parts,
    of_languages,
    of_subset,
)
from kalm_reranker.evaluation.data.bundled import load_demo_collection
from kalm_reranker.evaluation.data.collection import Collection
from kalm_reranker.evaluation.data.from_ir_datasets import check_ir_dataset, load_ir_dataset
from kalm_reranker.evaluation.data.from_mteb import MtebSubset, load_mteb, mteb_subsets
from kalm_reranker.evaluation.data.instructions import (
    Instruction,
    Instructions,
    published_instructions,
    read_instructions,
)
from kalm_reranker.evaluation.data.local_copies import find_copy, load_copy

_IR_DATASETS = "irds:"
_MTEB = "mteb:"
_DEMO = "demo"
_FORMS = "a BEIR directory, a folder of such, demo, irds:ID, mteb:TASK or mteb:TASK/SUBSET"


@dataclass(frozen=True, kw_only=True)
class Dataset:
    """A judged collection that is read when it is needed.

    Attributes:
        name: What it is called in tables; unique among the datasets of one evaluation. It may hold
            slashes.
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
    benchmark: str | None = None,
    tasks: Sequence[str] | None = None,
    languages: Sequence[str] | None = None,
    data: str | Path | None = None,
    split: str | None = None,
    instruction: str | None = None,
    instructions: str | Path | None = None,
) -> list[Dataset]:
    """Returns the datasets that were asked for, in order; no collection is read yet.

    Args:
        specs: As above.
        benchmark: All parts of a benchmark, after the specs.
        tasks: Only these tasks of the benchmark.
        languages: Only these languages of the benchmark, or of tasks of mteb.
        data: Folder with copies of public collections, read in place of a download.
        split: Which judgements; None for each source's own (`test`; `dev` in MIRACL). Ids of
            ir_datasets name their split themselves.
        instruction: Task instruction of all of them, in place of published ones.
        instructions: JSON file of task instructions (evaluation/data/instructions.py), which come
            before published ones.

    Raises:
        InvalidOptionError: A spec names nothing, options do not fit together, or two datasets have
            one name.
        DataFileError: The file of instructions is not what it should be.
        MissingExtraError: A spec needs a package that is not installed.
    """
    tasks, languages = tasks or None, languages or None  # none given, as a command line says it
    _check_options(specs, benchmark, tasks, languages, instruction, instructions)
    folder = None if data is None else _folder(data)
    found: list[Dataset] = []
    for spec in specs:
        found += _of_spec(spec, data=folder, split=split, languages=languages)
    if benchmark is not None:
        parts = benchmark_parts(benchmark, tasks=tasks, languages=languages)
        if folder is not None and not any(find_copy(folder, part.folders) for part in parts):
            raise InvalidOptionError(
                f"{folder} holds no part of {benchmark}.", hint=_copy_hint(parts[0], parts[0].split)
            )
        found += [_of_part(part, data=folder, split=split) for part in parts]
    if instructions is not None:
        found = _with_instructions(found, read_instructions(instructions), Path(instructions))
    elif instruction is not None:
        found = [
            replace(one, instruction=instruction, instruction_source="as given") for one in found
        ]
    _refuse_same_names(found)
    return found


def _check_options(
    specs: Sequence[str],
    benchmark: str | None,
    tasks: Sequence[str] | None,
    languages: Sequence[str] | None,
    instruction: str | None,
    instructions: str | Path | None,
) -> None:
    if not specs and benchmark is None:
        raise InvalidOptionError(
            "datasets must be at least one; got none.", hint=f"Give {_FORMS}, or a benchmark."
        )
    if tasks is not None and benchmark is None:
        raise InvalidOptionError(
            "tasks choose among those of a benchmark; got none.",
            hint="Name a benchmark, or give each task as mteb:TASK.",
        )
    of_mteb = any(spec.startswith(_MTEB) for spec in specs)
    if languages is not None and benchmark is None and not of_mteb:
        raise InvalidOptionError(
            "languages choose among those of a benchmark or of an mteb task; got neither."
        )
    if instruction is not None and instructions is not None:
        raise InvalidOptionError(
            "instruction and instructions must not be given together; got both.",
            hint="Write the one instruction into the file.",
        )
    if instruction is not None and not instruction.strip():
        raise InvalidOptionError(
            f"instruction must be a text; got {instruction!r}.",
            hint="Leave it out for each model's own.",
        )


def _folder(data: str | Path) -> Path:
    folder = Path(data).expanduser()
    if not folder.is_dir():
        raise InvalidOptionError(f"data must be a folder; there is no folder {str(data)!r}.")
    return folder


def _of_spec(
    spec: str, *, data: Path | None, split: str | None, languages: Sequence[str] | None
) -> list[Dataset]:
    if spec.startswith(_IR_DATASETS):
        return [_of_ir_datasets(spec)]
    if spec.startswith(_MTEB):
        return _of_mteb(spec, data=data, split=split, languages=languages)
    if spec == _DEMO and not Path(spec).exists():
        return [_bundled(split)]
    return [
        _of_directory(directory, split=split or "test") for directory in _beir_directories(spec)
    ]


def _bundled(split: str | None) -> Dataset:
    if split not in (None, "test"):
        raise InvalidOptionError(f"the bundled collection has the split 'test'; got {split!r}.")
    return Dataset(
        name="scifact-demo",
        source=_DEMO,
        split="test",
        instruction=None,
        load=load_demo_collection,
    )


def _beir_directories(spec: str) -> list[Path]:
    """Returns the directory itself if it is in BEIR form, or those inside it that are, by name."""
    path = Path(spec).expanduser()
    if is_beir_directory(path):
        return [path]
    inside = sorted(entry for entry in path.glob("*") if is_beir_directory(entry))
    if inside:
        return inside
    if path.is_dir():
        raise InvalidOptionError(
            f"{spec!r} is no dataset: neither it nor a folder in it has a corpus.jsonl.",
            hint="A BEIR directory has corpus.jsonl, queries.jsonl and qrels/<split>.tsv.",
        )
    raise InvalidOptionError(
        f"there is no dataset {spec!r}; expected {_FORMS}.", hint=_closest_spec(path)
    )


def _closest_spec(path: Path) -> str | None:
    """Returns a hint at a folder beside the path, or at a task of a benchmark, with a like name."""
    if known_parts(path.name):
        return f"Did you mean 'mteb:{known_parts(path.name)[0].task}'?"
    beside = [entry.name for entry in path.parent.glob("*") if entry.is_dir()]
    return did_you_mean(path.name, beside)


def _of_directory(directory: Path, *, split: str) -> Dataset:
    name = directory.resolve().name
    return Dataset(
        name=name,
        source=str(directory),
        split=split,
        instruction=None,
        load=partial(load_beir, directory, split=split, name=name),
    )


def _of_ir_datasets(spec: str) -> Dataset:
    dataset_id = spec.removeprefix(_IR_DATASETS)
    check_ir_dataset(dataset_id)
    return Dataset(
        name=dataset_id,
        source=spec,
        split=dataset_id.rpartition("/")[2],
        instruction=None,
        load=partial(load_ir_dataset, dataset_id, name=dataset_id),
    )


def _of_mteb(
    spec: str, *, data: Path | None, split: str | None, languages: Sequence[str] | None
) -> list[Dataset]:
    task, _, subset = spec.removeprefix(_MTEB).partition("/")
    parts = known_parts(task)
    if not parts:  # only now, since importing mteb takes seconds
        parts = [_as_part(one) for one in mteb_subsets(task)]
    if subset:
        parts = of_subset(parts, subset)
    if languages is not None:
        parts = of_languages(parts, languages)
    return [_of_part(part, data=data, split=split) for part in parts]


# BEIR keeps the parts of CQADupStack as folders of one.
_CQADUPSTACK = ("CQADupstack", "Retrieval")


def _as_part(subset: MtebSubset) -> Part:
    """Returns a subset of any task as if it were part of a benchmark of its own."""
    below = "" if subset.is_only else f"/{subset.subset}"
    start, end = _CQADUPSTACK
    is_forum = subset.task.startswith(start) and subset.task.endswith(end)
    forum = (f"cqadupstack/{subset.task.removeprefix(start).removesuffix(end)}",)
    return Part(
        benchmark="mteb",
        family=subset.part_of,
        task=subset.task,
        subset=subset.subset,
        is_only=subset.is_only,
        languages=subset.languages,
        split="test" if "test" in subset.splits else subset.splits[0],
        folders=(f"{subset.task}{below}", *(forum if is_forum else ())),
        excludes_own_id=subset.excludes_own_id,
        instruction=subset.instruction,
    )


def _of_part(part: Part, *, data: Path | None, split: str | None) -> Dataset:
    split = split or part.split
    below = "" if part.subset == DEFAULT_SUBSET else f"/{part.subset}"
    told = _published(part)
    return Dataset(
        name=part.name,
        source=f"{_MTEB}{part.task}{below}",
        split=split,
        instruction=None if told is None else told.text,
        instruction_source=None if told is None else told.source,
        group=part.group,
        load=partial(_load_part, part, data=data, split=split),
    )


def _published(part: Part) -> Instruction | None:
    if part.benchmark != "mteb":
        return published_instructions(part.benchmark).find(part.task, part.subset)
    if part.instruction is None:
        return None
    return Instruction(
        task=part.task, subset=None, text=part.instruction, source="mteb, the task's query prompt"
    )


def _load_part(part: Part, *, data: Path | None, split: str) -> Collection:
    """Reads a local copy where there is one, else has mteb download the part."""
    copy = None if data is None else find_copy(data, part.folders)
    if copy is None:
        return load_mteb(
            part.task,
            subset=part.subset,
            split=split,
            name=part.name,
            local_hint=_copy_hint(part, split),
        )
    return load_copy(
        copy,
        name=part.name,
        split=split,
        excludes_own_id=part.excludes_own_id,
        num_passages=part.num_passages,
        num_queries=part.num_queries if split == part.split else None,
    )


def _copy_hint(part: Part, split: str) -> str:
    places = " or ".join(f"FOLDER/{folder}" for folder in part.folders)
    return (
        f"With a copy: --data FOLDER, where {places} holds corpus.jsonl, queries.jsonl and "
        f"qrels/{split}.tsv."
    )


def _with_instructions(
    datasets: Iterable[Dataset], instructions: Instructions, path: Path
) -> list[Dataset]:
    """Returns the datasets, those that the file names with its instruction."""
    changed, num_found = [], 0
    for dataset in datasets:
        task, _, subset = dataset.source.removeprefix(_MTEB).partition("/")
        found = instructions.find(task, subset or None) if dataset.group else None
        found = found or instructions.find(dataset.name)
        if found is not None:
            num_found += 1
            dataset = replace(dataset, instruction=found.text, instruction_source=found.source)
        changed.append(dataset)
    if not num_found:
        raise InvalidOptionError(
            f"{path} must hold an instruction for one of the datasets "
            f"({', '.join(dataset.name for dataset in changed[:5])}, ...); none of its "
            f"{len(instructions)} is.",
            hint="`task` is the name of mteb's task, or a dataset's name.",
        )
    return changed


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
