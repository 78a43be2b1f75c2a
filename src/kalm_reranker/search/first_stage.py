"""The first stage of an index: BM25, dense vectors, or both; kept true to the store below it."""

import contextlib
import logging
import threading
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, TypeAlias, get_args

from kalm_reranker.errors import (
    DamagedStoreError,
    InvalidOptionError,
    MissingExtraError,
    StoreWriteError,
)
from kalm_reranker.search.candidates import Candidates, Fetch, filtered
from kalm_reranker.search.filters import Predicate
from kalm_reranker.search.fusion import reciprocal_rank_fusion
from kalm_reranker.search.tantivy_bm25 import TantivyBM25
from kalm_reranker.search.timing import StageLog

if TYPE_CHECKING:
    from kalm_reranker.search.dense import DenseFirstStage
    from kalm_reranker.search.dense_model import DenseModel
    from kalm_reranker.store.records import Damage
    from kalm_reranker.store.sqlite_store import SQLiteStore

logger = logging.getLogger(__name__)

FirstStageName: TypeAlias = Literal["bm25", "dense", "hybrid"]

BM25_FOLDER = "bm25"
DENSE_FOLDER = "dense"


class FirstStage:
    """Finds candidates in a store.

    Args:
        folder: The index; derived data lie in folders of their own in it.
        store: What they are derived from.
        dense_model: Loads the model of the store's vectors, when it is first needed.
    """

    def __init__(
        self, folder: Path, store: "SQLiteStore", dense_model: "Callable[[], DenseModel]"
    ) -> None:
        self._folder = folder
        self._store = store
        self._dense_model = dense_model
        # Two of a kind over one folder would take each other for another process.
        self._lock = threading.Lock()
        self._bm25: TantivyBM25 | None = None
        self._dense: DenseFirstStage | None = None

    @property
    def default(self) -> FirstStageName:
        """What is used where nothing is asked for: everything the index has."""
        header = self._store.header
        if header.dense is None:
            return "bm25"
        return "hybrid" if header.keep_text else "dense"

    def check(self, name: str) -> FirstStageName:
        """Returns the name if the index has what it needs.

        Raises:
            InvalidOptionError: There is no such first stage, or the index was made without it.
        """
        if name not in get_args(FirstStageName):
            raise InvalidOptionError(
                f"first_stage must be one of {', '.join(map(repr, get_args(FirstStageName)))}; "
                f"got {name!r}."
            )
        header = self._store.header
        if name != "dense" and not header.keep_text:
            raise InvalidOptionError(
                f"first_stage={name!r} needs texts; this index was made without them.",
                hint="Bring candidates of your own (kalm search --rerank FILE, or rerank(query, "
                "ids) in Python), or make an index that keeps its texts.",
            )
        if name != "bm25" and header.dense is None:
            raise InvalidOptionError(
                f"first_stage={name!r} needs dense vectors; this index was made without them.",
                hint="Make one with a dense model: kalm index create NEW --dense MODEL.",
            )
        return name  # type: ignore[return-value]

    def sync(self, *, wait_s: float = 60.0) -> list[str]:
        """Brings derived data up to date with the store; returns what could not be, in words.

        Args:
            wait_s: How long to wait for another process that is building what is missing.

        Raises:
            StoreBusyError: It takes longer.
            MissingExtraError: BM25 is not installed.
            StoreWriteError: The disk is full.
        """
        notes = []
        if self._store.header.keep_text:
            notes += _behind("BM25", self._bm25_stage().sync(self._store, wait_s=wait_s).behind)
        if self._store.header.dense is not None:
            report = self._dense_stage().sync(self._store, wait_s=wait_s)
            notes += _behind("the dense first stage", report.behind)
        return notes

    def before_write(self) -> None:
        """Must be called before the store changes; see `DerivedIndex.forget_future`."""
        header = self._store.header
        # Damaged counters are the business of the write, which may be there to mend them.
        with contextlib.suppress(MissingExtraError, DamagedStoreError):
            if header.dense is not None:
                self._dense_stage().forget_future(self._store)
            if header.keep_text:
                self._bm25_stage().forget_future(self._store)

    def candidates(
        self,
        query: str,
        count: int,
        name: FirstStageName,
        predicate: Predicate | None,
        log: StageLog,
    ) -> tuple[Candidates, list[str]]:
        """Returns the best passages for a query, and what is to be known about them, in words.

        Args:
            query: The query.
            count: Most candidates.
            name: Which first stage.
            predicate: Only passages whose metadata match; None for all.
            log: Takes the time of each stage.
        """
        with log.stage(name) as counts:
            notes, fetch = self._fetch(query, name)
            if predicate is None:
                hits, looked_at = list(fetch(count)), None
            else:
                damaged: list[Damage] = []
                hits, looked_at = filtered(
                    fetch, count, predicate, lambda keys: self._metadata_of(keys, damaged)
                )
                notes += [f"{item}; it cannot be filtered and was left out" for item in damaged]
            counts["candidates"] = len(hits)
            if looked_at is not None:
                counts["looked_at"] = looked_at
        return Candidates(tuple(key for key, _ in hits), dict(hits)), notes

    def close(self) -> None:
        """Closes all files."""
        with self._lock:
            stages = (self._bm25, self._dense)
            self._bm25 = self._dense = None
        for stage in stages:
            if stage is not None:
                stage.close()

    def _fetch(self, query: str, name: FirstStageName) -> tuple[list[str], Fetch]:
        notes: list[str] = []
        if name != "dense":
            bm25 = self._bm25_stage()
            notes += self._synced("BM25", bm25)
            by_terms = self._healing(bm25, lambda depth: bm25.search(query, depth))
            if name == "bm25":
                return notes, by_terms
        dense = self._dense_stage()
        notes += self._synced("the dense first stage", dense)
        vector = self._dense_model().encode_query(query)
        by_vector = self._healing(dense, lambda depth: dense.search(vector, depth))
        if name == "dense":
            return notes, by_vector

        def hybrid(depth: int) -> list[tuple[int, float]]:
            rankings = [by_terms(depth), by_vector(depth)]
            fused = reciprocal_rank_fusion([[key for key, _ in hits] for hits in rankings])
            return list(fused.items())[:depth]

        return notes, hybrid

    def _synced(self, name: str, stage: "TantivyBM25 | DenseFirstStage") -> list[str]:
        """Brings derived data up to date; what is there is searched where that cannot be written.

        Raises:
            StoreWriteError: Nothing is there.
        """
        try:
            return _behind(name, stage.sync(self._store).behind)
        except StoreWriteError as error:
            behind = self._store.last_change() - stage.synced_change
            if not stage.synced_change or behind < 0:
                raise
            return [f"{name} is {behind} changes behind: {error.message}"]

    def _healing(self, stage: "TantivyBM25 | DenseFirstStage", fetch: Fetch) -> Fetch:
        """Returns a fetch that, where derived data turn out to be damaged, builds them again."""

        def search(depth: int) -> Sequence[tuple[int, float]]:
            try:
                return fetch(depth)
            except DamagedStoreError as error:
                logger.warning("%s", error)
                stage.sync(self._store)
                return fetch(depth)

        return search

    def _metadata_of(
        self, keys: Sequence[int], damaged: "list[Damage]"
    ) -> Mapping[int, Mapping[str, Any]]:
        """Returns the metadata of those passages that exist; adds the damaged ones to a list."""
        read = self._store.read_passages(keys)
        damaged += read.damaged
        return {key: passage.metadata for key, passage in read.found.items()}

    def _bm25_stage(self) -> TantivyBM25:
        with self._lock:
            if self._bm25 is None:
                language = self._store.header.language
                self._bm25 = TantivyBM25(self._folder / BM25_FOLDER, language=language)  # type: ignore[arg-type]
            return self._bm25

    def _dense_stage(self) -> "DenseFirstStage":
        with self._lock:
            if self._dense is None:
                from kalm_reranker.search.dense import DenseFirstStage

                assert self._store.header.dense is not None  # `check` saw to it
                self._dense = DenseFirstStage(
                    self._folder / DENSE_FOLDER, width=self._store.header.dense.width
                )
            return self._dense


def _behind(name: str, changes: int) -> list[str]:
    return [f"{name} is {changes} changes behind: another process is writing"] if changes else []
