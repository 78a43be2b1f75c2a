"""The runs of every ranker over one dataset: those that are scored, and those that follow."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

from kalm_reranker.evaluation.combining import blended_cascade_run, cascade_run
from kalm_reranker.evaluation.line_up import Cascade, LineUp
from kalm_reranker.evaluation.names import file_name
from kalm_reranker.evaluation.ranker_run import RankerRun, run_ranker, save_derived
from kalm_reranker.evaluation.rankers.base import RankingTask
from kalm_reranker.evaluation.results import RankerInfo
from kalm_reranker.search.fusion import blend_runs
from kalm_reranker.search.ranking import Run


class RankedDataset:
    """Runs over the same candidates, by the name of the ranker; `make_all` makes them.

    Args:
        task: The dataset.
        task_hash: From `hash_of_task`.
        line_up: The rankers.
        folder: Where runs of this dataset are kept.
        say: Takes a line about what is being done.
        show_progress: None shows progress bars on a terminal.

    Attributes:
        found: Name of the ranker -> its run.
        notes: What rankers have to say about their numbers, each once.
    """

    def __init__(
        self,
        task: RankingTask,
        task_hash: str,
        line_up: LineUp,
        folder: Path,
        *,
        say: Callable[[str], None],
        show_progress: bool | None,
    ) -> None:
        self._task = task
        self._task_hash = task_hash
        self._line_up = line_up
        self._folder = folder
        self._say = say
        self._show_progress = show_progress
        self.found: dict[str, RankerRun] = {}
        self.notes: list[str] = []

    def make_all(self) -> None:
        """Scores what is to be scored, and derives the rest from it."""
        line_up = self._line_up
        self._derive(line_up.first_stage, self._task.candidates)
        for ranker in line_up.scorers:
            name = ranker.info.name
            task = self._task
            if ranker.info.kind != "kalm":  # models of ours share a folder, peers do not
                own = task.folder / file_name(name)
                task = replace(task, folder=own)
            self.found[name] = found = run_ranker(
                ranker,
                task,
                self._folder,
                line_up.stems[name],
                task_hash=self._task_hash,
                show_progress=self._show_progress,
            )
            self.notes += [note for note in found.notes if note not in self.notes]
            self._tell(name, found)
        for cascade in line_up.cascades:
            run = cascade_run(*self._passes(cascade))
            self._derive(cascade.info, run, like=cascade.fine.info.name)
        cascades = {cascade.info.name: cascade for cascade in line_up.cascades}
        for blend, of in line_up.blends:
            run = (
                blended_cascade_run(self._task.candidates, *self._passes(cascades[of.name]))
                if of.name in cascades
                else blend_runs(self._task.candidates, self.found[of.name].run)
            )
            self._derive(blend, run, like=of.name)

    def _passes(self, cascade: Cascade) -> tuple[Run, Run, int]:
        """Returns both passes over all candidates, and how many the second one takes."""
        assert cascade.info.fine_count is not None
        coarse, fine = (self.found[one.info.name].run for one in (cascade.coarse, cascade.fine))
        return coarse, fine, cascade.info.fine_count

    def _derive(self, info: RankerInfo, run: Run, like: str | None = None) -> None:
        stored = None if like is None else self.found[like].bytes_per_passage
        self.found[info.name] = RankerRun(
            run=run, bytes_per_passage=stored, ms_per_query=None, seconds={}, reused=False
        )
        stem = self._line_up.stems[info.name]
        save_derived(self._folder, stem, info, run, self._task_hash)

    def _tell(self, name: str, found: RankerRun) -> None:
        if found.reused:
            self._say(f"{name}: kept from before")
            return
        prepared, scored = (found.seconds[step] for step in ("prepare", "score"))
        self._say(f"{name}: scored in {scored:.1f} s, after {prepared:.1f} s of preparation")
