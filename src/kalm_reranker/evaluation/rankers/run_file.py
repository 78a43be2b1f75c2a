"""A run that somebody else made, as a ranker of the same candidates."""

import math
from collections.abc import Mapping, Sequence
from pathlib import Path

from kalm_reranker.checkpoints.file_hash import content_hash
from kalm_reranker.errors import DataFileError, InputError
from kalm_reranker.evaluation.first_stage.run_folders import run_path
from kalm_reranker.evaluation.rankers.base import RankingTask
from kalm_reranker.evaluation.results import RankerInfo
from kalm_reranker.lines import reading
from kalm_reranker.search.ranking import Run
from kalm_reranker.search.run_files import read_trec_run


class RunFileRanker:
    """Scores are those of the run; candidates it lacks come after all others.

    Passages of the run that are no candidates are left out: what is compared is the order of the
    same candidates.

    Args:
        path: A file in the TREC form, or a folder with a `<dataset>.trec` for each dataset.
        name: What tables call it.

    Attributes:
        notes: What a reader of the numbers on the dataset has to know.

    Raises:
        DataFileError: There is no such file or folder.
    """

    def __init__(self, path: Path, *, name: str) -> None:
        self._path = path.expanduser()
        self._name = name
        self._run: Run = {}
        self.notes: tuple[str, ...] = ()
        if not self._path.exists():
            raise DataFileError(
                f"There is no file or folder {self._path} for the run {name!r}.",
                hint="Check the path.",
            )
        with reading(str(self._path)):
            self._sha256 = _hashes(self._path)

    @property
    def info(self) -> RankerInfo:
        """What it is, and all that is needed to repeat what it does."""
        return RankerInfo(
            name=self._name,
            kind="run",
            settings={"path": str(self._path), "sha256": self._sha256},
        )

    def prepare(self, task: RankingTask) -> None:
        """Reads the dataset's run and counts the candidates that it lacks.

        Raises:
            DataFileError: There is none, or it cannot be read.
            InputError: It scores no candidate of any query.
        """
        path = run_path(self._path, task.dataset)
        run = read_trec_run(path)
        pairs = [(query, key) for query, found in task.candidates.items() for key in found]
        missing = [pair for pair in pairs if pair[1] not in run.get(pair[0], {})]
        if pairs and len(missing) == len(pairs):
            raise InputError(
                f"{path} scores none of the {len(pairs):,} candidates of {task.dataset!r}; the "
                f"first is passage {pairs[0][1]!r} of query {pairs[0][0]!r}.",
                hint="Is it of another dataset, or does it write ids in another way?",
            )
        self._run = {query: run.get(query, {}) for query in task.candidates}
        self.notes = ()
        if missing:
            query, passage_id = missing[0]
            self.notes = (
                f"{self._name}: the run has no score for {len(missing):,} of {len(pairs):,} "
                f"candidates, which come last, in the order of their ids (the first is "
                f"{passage_id!r}, of query {query!r}).",
            )

    def score(self, query_id: str, query: str, candidate_ids: Sequence[str]) -> Mapping[str, float]:
        """Returns the run's score of each candidate; those it lacks get one below all of these."""
        scores = self._run.get(query_id, {})
        known = [scores[key] for key in candidate_ids if key in scores]
        lowest = min(known, default=0.0)
        # One less is the same number again where numbers are huge.
        below = min(lowest - 1, math.nextafter(lowest, -math.inf))
        return {key: scores.get(key, below) for key in candidate_ids}

    def bytes_per_passage(self) -> float | None:
        """Returns None: nothing is stored."""
        return None

    def close(self) -> None:
        """Lets go of the run."""
        self._run = {}


def _hashes(path: Path) -> str | dict[str, str]:
    """Returns the hash of a run, or those of a folder's runs by name: a changed one is another."""
    if not path.is_dir():
        return content_hash(path)
    files = [*path.glob("*.trec"), *path.glob("*.trec.gz")]
    return {file.name: content_hash(file) for file in sorted(files) if file.is_file()}
