"""First stages of an evaluation: each finds candidates in its own way, and says in words how."""

from abc import ABC, abstractmethod
from itertools import islice
from pathlib import Path
from typing import Any

from kalm_reranker.checkpoints.file_hash import content_hash
from kalm_reranker.errors import DataFileError, InputError, InvalidOptionError
from kalm_reranker.evaluation.data.collection import Collection
from kalm_reranker.evaluation.first_stage.dense_search import dense_search
from kalm_reranker.evaluation.first_stage.first_stage_spec import FirstStageSpec
from kalm_reranker.evaluation.first_stage.mteb_predictions import read_mteb_predictions
from kalm_reranker.evaluation.first_stage.run_folders import run_path
from kalm_reranker.evaluation.rankers.sentence_models import (
    LocatedModel,
    library_version,
    locate_model,
)
from kalm_reranker.lines import reading
from kalm_reranker.search.analysis import analysis_version
from kalm_reranker.search.bm25 import BM25FirstStage
from kalm_reranker.search.dense_model import DenseModel
from kalm_reranker.search.ranking import Run
from kalm_reranker.search.run_files import read_trec_run


class FirstStage(ABC):
    """Finds candidates for the queries of a collection.

    Attributes:
        source: What messages call the place that candidates came from.
    """

    source: str

    @abstractmethod
    def made_from(self) -> dict[str, Any]:
        """Returns what a run depends on besides spec, depth and collection, as JSON holds it."""

    @abstractmethod
    def find(self, top_k: int) -> Run:
        """Returns candidates; more than `top_k` where that costs nothing."""

    @abstractmethod
    def description(self) -> str:
        """Returns how candidates are found, in words; asked for after `find`."""


def first_stage(
    spec: FirstStageSpec,
    collection: Collection,
    *,
    task: str | None,
    subset: str,
    split: str,
    device: str | None,
    batch_size: int,
    show_progress: bool | None,
) -> FirstStage:
    """Returns the first stage of a specification; see `find_candidates` for the arguments.

    Raises:
        DataFileError: A file or folder of the specification is not there.
        InvalidOptionError: "given", and the collection brings no candidates.
        CheckpointNotFoundError: There is no such dense model.
        MissingExtraError: What a dense model needs is not installed.
    """
    if spec.kind == "bm25":
        return _BM25(spec, collection)
    if spec.kind == "given":
        return _Given(collection)
    assert spec.target is not None  # all others have one
    if spec.kind == "dense":
        located = locate_model(spec.target, "SentenceTransformer")
        model = DenseModel(located.folder, device=device, batch_size=batch_size)
        return _Dense(located, model, collection, show_progress)
    path = Path(spec.target).expanduser()
    if spec.kind == "run":
        return _RunFile(path, collection.name)
    return _Predictions(path, task or collection.name, subset=subset, split=split)


class _BM25(FirstStage):
    def __init__(self, spec: FirstStageSpec, collection: Collection) -> None:
        self.source = "BM25"
        self._spec = spec
        self._collection = collection
        self._english: bool | None = None

    def made_from(self) -> dict[str, Any]:
        return {
            "versions": _versions("bm25s", "PyStemmer"),
            "analysis": analysis_version(english=False),
        }

    def find(self, top_k: int) -> Run:
        spec = self._spec
        index = BM25FirstStage(
            self._collection.passages, language=spec.language, k1=spec.k1, b=spec.b
        )
        self._english = index.english
        collection = self._collection
        if collection.pools is None:
            return index.search(collection.queries, top_k)
        run: Run = {}
        for query_id, text in collection.queries.items():
            # Term statistics stay those of the whole collection.
            found = index.search({query_id: text}, len(index))[query_id]
            pool = set(collection.pools[query_id])
            best = islice((pair for pair in found.items() if pair[0] in pool), top_k)
            run[query_id] = dict(best)
        return run

    def description(self) -> str:
        analysis = (
            "English words without stop words, Snowball stems"
            if self._english
            else "words, and n-grams of scripts without spaces"
        )
        return (
            f"BM25 (bm25s {_versions('bm25s')['bm25s']}, k1 = {self._spec.k1:g}, "
            f"b = {self._spec.b:g}; {analysis}; title and text as one field)"
        )


class _Dense(FirstStage):
    def __init__(
        self,
        located: LocatedModel,
        model: DenseModel,
        collection: Collection,
        show_progress: bool | None,
    ) -> None:
        self.source = f"The dense model {located.name}"
        self._located = located
        self._model = model
        self._collection = collection
        self._show_progress = show_progress

    def made_from(self) -> dict[str, Any]:
        return {
            "versions": _versions("sentence-transformers", "transformers", "torch"),
            "fingerprint": self._located.fingerprint,
        }

    def find(self, top_k: int) -> Run:
        return dense_search(
            self._model,
            self._collection.passages,
            self._collection.queries,
            top_k=top_k,
            pools=self._collection.pools,
            show_progress=self._show_progress,
        )

    def description(self) -> str:
        library = "sentence-transformers"
        return (
            f"dense retrieval with {self._located.label} ({library} {_versions(library)[library]}, "
            "its own prompts, exact search by cosine)"
        )


class _RunFile(FirstStage):
    def __init__(self, path: Path, dataset: str) -> None:
        self._path = run_path(path, dataset)
        self.source = str(self._path)

    def made_from(self) -> dict[str, Any]:
        return {"sha256": _hash(self._path)}

    def find(self, top_k: int) -> Run:
        return read_trec_run(self._path)

    def description(self) -> str:
        return f"the run {self._path.name}"


class _Predictions(FirstStage):
    def __init__(self, path: Path, dataset: str, *, subset: str, split: str) -> None:
        self._path = _predictions_file(path, dataset)
        self._subset = subset
        self._split = split
        self.source = str(self._path)

    def made_from(self) -> dict[str, Any]:
        return {"sha256": _hash(self._path), "subset": self._subset, "split": self._split}

    def find(self, top_k: int) -> Run:
        return read_mteb_predictions(self._path, subset=self._subset, split=self._split)

    def description(self) -> str:
        return f"mteb's predictions in {self._path.name}"


class _Given(FirstStage):
    def __init__(self, collection: Collection) -> None:
        self.source = f"The dataset {collection.name!r}"
        if collection.pools is None:
            raise InvalidOptionError(
                f"The dataset {collection.name!r} brings no candidates of its own.",
                hint="Choose another first stage, such as bm25.",
            )
        self._pools = collection.pools

    def made_from(self) -> dict[str, Any]:
        return {}  # they are part of the collection

    def find(self, top_k: int) -> Run:
        # Without scores; the order is the source's, which for some is that of a first stage.
        return {
            query_id: {
                passage_id: float(len(pool) - place) for place, passage_id in enumerate(pool)
            }
            for query_id, pool in self._pools.items()
        }

    def description(self) -> str:
        return "the dataset's own candidates, in the order of the source"


def _predictions_file(path: Path, dataset: str) -> Path:
    """Returns the file of a dataset's predictions, in a folder that may hold several datasets'."""
    if path.is_file():
        return path
    if not path.is_dir():
        raise DataFileError(f"There is no file or folder {path}.", hint="Check the path.")
    # Folders may be nested, a model's inside an experiment's; names of tasks come in any case.
    names = {dataset.casefold(), dataset.split("/")[-1].casefold()}
    suffix = "_predictions.json"
    with reading(str(path)):
        files = sorted(path.rglob(f"*{suffix}"))
    found = [file for file in files if file.name.removesuffix(suffix).casefold() in names]
    if len(found) == 1:
        return found[0]
    if found:
        raise InputError(
            f"{path} holds {len(found)} files of predictions for {dataset!r}: "
            f"{', '.join(str(file.relative_to(path)) for file in found)}.",
            hint="Give the folder of one model.",
        )
    there = ", ".join(file.name for file in files[:5]) or "no file of predictions"
    raise DataFileError(
        f"{path} holds no predictions for the dataset {dataset!r}; it holds {there}.",
        hint=f"Its file must be named <task>{suffix}, as mteb saves it with prediction_folder.",
    )


def _hash(path: Path) -> str:
    with reading(str(path)):
        return content_hash(path)


def _versions(*packages: str) -> dict[str, str | None]:
    return {package: library_version(package) for package in packages}
