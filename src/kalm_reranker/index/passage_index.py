"""`PassageIndex`: passages are encoded once and kept; queries are answered from what is kept."""

import contextlib
import logging
import os
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Self

from kalm_reranker.calibration import Calibration, as_calibration
from kalm_reranker.checkpoints.settings import CascadeSettings, RerankerSettings
from kalm_reranker.encoding.states import PassageStates
from kalm_reranker.encoding.texts import check_query
from kalm_reranker.encoding.tokenizer import SpecialTokens
from kalm_reranker.errors import (
    InvalidOptionError,
    InvalidTextError,
    MissingExtraError,
    StoreError,
    UnknownPassageError,
    shown,
)
from kalm_reranker.index.adding import Adder, OnError
from kalm_reranker.index.checks import (
    checked_flag,
    checked_ids,
    checked_location,
    checked_scores,
    checked_seconds,
    refuse_settings,
)
from kalm_reranker.index.creation import check_same_settings, new_header
from kalm_reranker.index.export import ExportReport, export_index
from kalm_reranker.index.inputs import PassageInput, as_source
from kalm_reranker.index.models import IndexModels, ModelInput
from kalm_reranker.index.progress import adding_bar
from kalm_reranker.index.report import AddReport
from kalm_reranker.index.sources.record import Source
from kalm_reranker.model.pooling import check_ratio
from kalm_reranker.options import (
    UNSET,
    EngineName,
    LongDocuments,
    QuantizationName,
    RatioOption,
    Unset,
    check_bytes,
    check_count,
)
from kalm_reranker.reranker import KaLMReranker
from kalm_reranker.search.candidates import Candidates
from kalm_reranker.search.cascade import ScoringPlan, plan_scoring
from kalm_reranker.search.filters import MetadataFilter, predicate_of
from kalm_reranker.search.first_stage import FirstStage
from kalm_reranker.search.rescoring import Rescorer
from kalm_reranker.search.results import SearchResults
from kalm_reranker.search.searcher import Searcher
from kalm_reranker.search.timing import StageLog
from kalm_reranker.store.damage import damage_error
from kalm_reranker.store.header import StoreHeader
from kalm_reranker.store.hot_tier import HotTier, HotTierStats
from kalm_reranker.store.passage import Passage, check_id
from kalm_reranker.store.records import Damage, StoreCounts, VerifyReport
from kalm_reranker.store.sqlite_store import STORE_FILE, SQLiteStore
from kalm_reranker.store.states_reader import StatesReader

if TYPE_CHECKING:
    from kalm_reranker.search.dense_model import DenseModel

logger = logging.getLogger(__name__)

DEFAULT_HOT_BYTES = 256 * 2**20
_WAIT_S = 10.0  # for another writer


@dataclass(frozen=True, slots=True, kw_only=True)
class IndexStats:
    """How much an index holds, and what its hot tier brought.

    Attributes:
        store: Counts of the store.
        hot_tier: Counts of the cache in memory, since the index was opened.
    """

    store: StoreCounts
    hot_tier: HotTierStats


class PassageIndex:
    """A folder with passages, their compressed states, and a first stage over their texts.

    Make one with `create`, open it with `open`; both can be used in a `with` statement. Threads
    may share an index: any number of them search while one adds. Any number of processes may read
    while one writes.

    Example:
        >>> import tempfile
        >>> folder = tempfile.mkdtemp() + "/index"
        >>> with PassageIndex.create(folder, "pico") as index:
        ...     report = index.add([("a", "Beijing is the capital of China."), ("b", "A cat.")])
        ...     index.search("capital of China?", top_k=1)[0].id
        'a'
    """

    def __init__(
        self, folder: Path, store: SQLiteStore, models: IndexModels, *, hot_bytes: int
    ) -> None:
        self._folder = folder
        self._store = store
        self._models = models
        self._hot = HotTier(hot_bytes)
        self._made_lock = threading.Lock()
        self._made_reader: StatesReader | None = None
        self._made_searcher: Searcher | None = None
        self._first_stage = FirstStage(folder, store, lambda: models.dense)

    @classmethod
    def create(
        cls,
        folder: str | os.PathLike[str],
        model: ModelInput = "pico",
        *,
        compression_ratio: RatioOption = UNSET,
        codec: str | None = None,
        keep_text: bool = True,
        language: str = "auto",
        dense: "str | os.PathLike[str] | DenseModel | None" = None,
        exist_ok: bool = False,
        hot_bytes: int = DEFAULT_HOT_BYTES,
        device: str | None = None,
        dtype: str | None = None,
        max_length: int | Unset = UNSET,
        long_documents: LongDocuments | None = None,
        calibration: Calibration | str | os.PathLike[str] | None = None,
    ) -> Self:
        """Makes an empty index.

        Args:
            folder: Where; made where it is missing.
            model: A short name, directory or hub id, or a reranker whose settings to take.
            compression_ratio: Tokens per stored state, the base ratio: multiples of it can be
                searched at later. The checkpoint's own, if not given.
            codec: "float32", "bf16", "int8" or "int4"; if not given, the one that loses nothing
                of what the model computes: bf16 for a bfloat16 model, else float32.
            keep_text: Keep texts. Without them there is no BM25, and results have no text.
            language: How BM25 reads texts: "english", "other", or "auto" to look at them.
            dense: A sentence-transformers model for a dense first stage beside BM25; its vectors
                are kept beside the states.
            exist_ok: Open the index that is there already, if it was made with these settings.
            hot_bytes: See `open`.
            device: As in `KaLMReranker`.
            dtype: As in `KaLMReranker`.
            max_length: Tokens a passage is cut at, or of a window; the checkpoint's own, if not
                given.
            long_documents: As in `KaLMReranker`: "truncate", if not given, or "windows". It holds
                for all that is ever added.
            calibration: As in `KaLMReranker`, for searches; the index does not keep it.

        Raises:
            StoreExistsError: There is an index already; with `exist_ok`, one made otherwise.
            StoreWriteError: The folder cannot be written.
            CheckpointError: The model cannot be found, fetched or used.
            CalibrationError: The calibration cannot be read, or was fitted to another model.
            InvalidOptionError: A setting is out of range.
            InvalidRatioError: The ratio does not divide the length of windows.
            MissingExtraError: A dense model is asked for, and its library is not installed.
        """
        path = Path(checked_location(folder, "folder"))
        hot_bytes = check_bytes(hot_bytes, "hot_bytes")
        if isinstance(model, KaLMReranker):
            refuse_settings(
                device=device,
                dtype=dtype,
                max_length=max_length,
                long_documents=long_documents,
                calibration=calibration,
            )
            reranker = model
        else:
            reranker = KaLMReranker(
                checked_location(model, "model"),
                device=device,
                dtype=dtype,
                max_length=max_length,
                long_documents="truncate" if long_documents is None else long_documents,
                calibration=calibration,
            )
        if dense is not None:
            from kalm_reranker.search.dense_model import DenseModel

            if not isinstance(dense, DenseModel):
                dense = DenseModel(checked_location(dense, "dense"))
        header = new_header(
            reranker,
            compression_ratio=compression_ratio,
            codec=codec,
            keep_text=keep_text,
            language=language,
            dense=dense,
        )
        if exist_ok and (path / STORE_FILE).exists():
            store = SQLiteStore.open(path)
            check_same_settings(store.header, header, path)
        else:
            store = SQLiteStore.create(path, header)
        models = IndexModels(path, store.header, reranker, dense=dense)
        index = cls(path, store, models, hot_bytes=hot_bytes)
        logger.info("opened %r", index)
        return index

    @classmethod
    def open(
        cls,
        folder: str | os.PathLike[str],
        model: ModelInput | None = None,
        *,
        hot_bytes: int = DEFAULT_HOT_BYTES,
        device: str | None = None,
        dtype: str | None = None,
        engine: EngineName | None = None,
        quantization: QuantizationName | None = None,
        prefix_cache_bytes: int | None = None,
        calibration: Calibration | str | os.PathLike[str] | None = None,
        query_max_length: int | None = None,
        special_tokens: SpecialTokens | None = None,
        deterministic: bool | None = None,
        threads: int | None = None,
    ) -> Self:
        """Opens an index. The model is loaded when it is first needed.

        Args:
            folder: Where it is. It may be read-only; then it can be searched, but not added to.
            model: Where to find the model, if not where the index says; or a reranker.
            hot_bytes: Bytes of passage states kept in memory.
            device: As in `KaLMReranker`.
            dtype: For scoring, as in `KaLMReranker`; if not given: float32 where the states were
                encoded in it, else what the machine is fast at. Passages are always encoded in
                the dtype of those that are there.
            engine: As in `KaLMReranker`.
            quantization: As in `KaLMReranker`.
            prefix_cache_bytes: As in `KaLMReranker`.
            calibration: As in `KaLMReranker`, for searches. It is read now, and held to the model
                when that is loaded.
            query_max_length: As in `KaLMReranker`.
            special_tokens: As in `KaLMReranker`, for queries and for passages that are added from
                now on; the index's own, if not given. "text" is right for what comes from others,
                also where the index was made with "control".
            deterministic: As in `KaLMReranker`.
            threads: As in `KaLMReranker`.

        Raises:
            StoreNotFoundError: There is no index.
            InvalidStoreError: It is of another format version, or something else.
            DamagedStoreError: Its header is damaged.
            InvalidCalibrationError: The calibration cannot be read.
        """
        path = Path(checked_location(folder, "folder"))
        if prefix_cache_bytes is not None:
            check_bytes(prefix_cache_bytes, "prefix_cache_bytes")
        hot_bytes = check_bytes(hot_bytes, "hot_bytes")
        options: dict[str, object] = {
            "device": device,
            "engine": engine,
            "special_tokens": special_tokens,
            "deterministic": deterministic,
            "threads": threads,
        }
        query_options: dict[str, object] = {
            "quantization": quantization,
            "prefix_cache_bytes": prefix_cache_bytes,
            "query_max_length": query_max_length,
        }
        if isinstance(model, KaLMReranker):
            refuse_settings(dtype=dtype, calibration=calibration, **options, **query_options)
        elif model is not None:
            checked_location(model, "model")
        store = SQLiteStore.open(path)
        models = IndexModels(
            path,
            store.header,
            model,
            dtype=dtype,
            options=options,
            query_options={**query_options, "calibration": as_calibration(calibration)},
        )
        return cls(path, store, models, hot_bytes=hot_bytes)

    def __repr__(self) -> str:
        header = self.header
        return (
            f"PassageIndex({str(self._folder)!r}, {len(self):,} passages, model={header.model!r}, "
            f"compression_ratio={header.compression_ratio}, codec={header.codec!r})"
        )

    def __len__(self) -> int:
        return self._store.num_passages()

    def __contains__(self, passage_id: object) -> bool:
        try:
            return bool(self._store.keys_of([check_id(passage_id)]))
        except InvalidTextError:
            return False

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    @property
    def folder(self) -> Path:
        """Where the index is."""
        return self._folder

    @property
    def header(self) -> StoreHeader:
        """Model, ratio, codec and the rest of what was fixed when the index was made."""
        return self._store.header

    @property
    def encoder(self) -> KaLMReranker:
        """The model that encodes what is added; another object where that has another dtype.

        Raises:
            StatesMismatchError: It is not the model, or not with the settings, of what is there.
            CheckpointError: It cannot be found, fetched or used.
        """
        return self._models.encoder

    @property
    def reranker(self) -> KaLMReranker:
        """The model, loaded when first asked for.

        Raises:
            StatesMismatchError: It is not the model that made the states.
            CheckpointError: It cannot be found, fetched or used.
        """
        return self._models.reranker

    def add(
        self,
        passages: str | os.PathLike[str] | Source | Iterable[PassageInput],
        *,
        on_error: OnError = "raise",
        format: str = "auto",
        columns: list[str] | None = None,
        show_progress: bool | None = None,
        on_progress: Callable[[AddReport], None] | None = None,
        wait_s: float = _WAIT_S,
    ) -> AddReport:
        """Adds passages: encodes what is new, replaces what changed, skips what is there already.

        It commits every few seconds. Whatever interrupts it, what was committed stays, and adding
        the same again finishes the rest.

        Args:
            passages: A file (.jsonl, .tsv, .csv, .parquet; also .gz), a directory (in BEIR form,
                or of text files), another index, "-" for standard input; or any iterable of
                `Passage`s, mappings with "id" and "text", or (id, text) pairs. It is read as it
                is needed, so it may be larger than memory.
            on_error: What to do with a record that cannot be used: "raise" stops there, after
                committing what came before; "skip" counts and lists it in the report.
            format: Of a location, where its name does not tell.
            columns: Column names of a TSV or CSV file without a header.
            show_progress: None shows a progress bar on a terminal.
            on_progress: Called after each commit with the counts so far.
            wait_s: How long to wait for another writer.

        Returns:
            What was done, in numbers.

        Raises:
            DataFileError: Input that cannot be used.
            StatesMismatchError: The model, or its length limit, dtype or choice for longer
                documents, is another one.
            StoreBusyError: Another writer is at work for longer than `wait_s`.
            StoreWriteError: The disk is full or cannot be written.
        """
        source = as_source(passages, format=format, columns=columns)
        with self._writing(checked_seconds(wait_s, "wait_s")):
            encoder = self._models.encoder
            dense = self._models.dense if self.header.dense is not None else None
            with adding_bar(source, show=show_progress) as show:

                def tell(report: AddReport) -> None:
                    show(report)
                    if on_progress is not None:
                        on_progress(report)

                report = Adder(self._store, encoder, dense).add(
                    source, on_error=on_error, on_progress=tell
                )
            start = time.perf_counter()
            if not report.num_records:
                report.notes.append(
                    f"there was no passage in {source.name}; of a folder, .txt, .md and .markdown "
                    "files are read"
                )
            report.notes += self._sync_first_stage()
            report.first_stage_s = time.perf_counter() - start
            report.seconds += report.first_stage_s
        logger.info("added to %s: %s", self._folder, report)
        return report

    def delete(self, ids: str | Iterable[str], *, missing_ok: bool = False) -> int:
        """Deletes passages; all of them or, where one is missing, none.

        Args:
            ids: An id or several.
            missing_ok: Leave out ids that do not exist.

        Returns:
            How many were deleted.

        Raises:
            UnknownPassageError: An id does not exist.
            StoreBusyError: Another writer is at work.
            StoreWriteError: The disk is full or cannot be written.
        """
        names = checked_ids(ids)
        with self._writing():
            if not missing_ok:
                self._keys(names)
            return self._store.delete(names)

    def get(self, passage_id: str) -> Passage:
        """Returns a passage.

        Raises:
            UnknownPassageError: There is none of this id.
            DamagedStoreError: Its bytes on disk are not what was written.
        """
        return self.get_many([passage_id])[0]

    def get_many(self, ids: Iterable[str]) -> list[Passage]:
        """Returns a passage for each id, in their order. The text is empty where none is kept.

        Raises:
            UnknownPassageError: An id does not exist.
            DamagedStoreError: The bytes of one on disk are not what was written.
        """
        names = checked_ids(ids)
        keys = self._keys(
            names, hint="`kalm index ids`, or ids() in Python, lists those that are there."
        )
        read = self._store.read_passages(list(keys.values()))
        if read.damaged:
            raise damage_error(self._store.path, read.damaged)
        if read.missing:  # deleted since they were looked up
            return self.get_many(names)
        found = [read.found[keys[name]] for name in names]
        return [Passage(item.id, item.text or "", item.metadata or None) for item in found]

    def states(
        self, ids: Iterable[str], *, compression_ratio: RatioOption = UNSET
    ) -> PassageStates:
        """Returns the states of passages, in the order of their ids, as `reranker` scores them.

        Args:
            ids: Distinct ids.
            compression_ratio: A multiple of the index's ratio; the index's own, if not given.

        Raises:
            UnknownPassageError: An id does not exist.
            InvalidRatioError: The ratio is no multiple of the index's.
            DamagedStoreError: The bytes of one on disk are not what was written.
        """
        names = checked_ids(ids)
        keys = self._keys(names)
        ratio = None if compression_ratio is UNSET else check_ratio(compression_ratio)
        read = self._reader().read(list(keys.values()), ratio)
        if read.damaged:
            raise damage_error(self._store.path, read.damaged)
        if read.missing:  # deleted since they were looked up
            return self.states(names, compression_ratio=compression_ratio)
        return read.states

    def token_counts(self, ids: Iterable[str]) -> list[int]:
        """Returns the tokens of each passage before pooling; 0 where that is damaged.

        For plans of what to read together: unlike `states` it checks nothing.

        Raises:
            UnknownPassageError: An id does not exist.
        """
        names = checked_ids(ids)
        keys = self._keys(names)
        return self._store.token_counts([keys[name] for name in names])

    def ids(self) -> Iterator[str]:
        """Yields the ids of all passages in the order they were first added. Streams.

        Raises:
            DamagedStoreError: At the end, if the ids of some could not be read.
        """
        damaged: list[Damage] = []
        for read in self._store.all_passages():
            yield from (passage.id for passage in read.found.values())
            damaged += read.damaged
        if damaged:
            raise damage_error(self._store.path, damaged)

    def search(
        self,
        query: str,
        top_k: int = 10,
        *,
        candidates: int = 100,
        instruction: str | None = None,
        first_stage: str | None = None,
        cascade: CascadeSettings | Unset | None = UNSET,
        compression_ratio: RatioOption = UNSET,
        fuse: bool | None = None,
        filter: MetadataFilter | None = None,
    ) -> SearchResults:
        """Finds the passages that answer a query.

        The first stage finds candidates, the reranker scores them from their stored states.

        Args:
            query: The query.
            top_k: Results wanted.
            candidates: Passages the first stage hands to the reranker; never fewer than `top_k`.
            instruction: The task instruction; the checkpoint's default, if not given.
            first_stage: "bm25", "dense" or "hybrid" (both, by reciprocal rank fusion). If not
                given: hybrid where the index has vectors, else BM25.
            cascade: All candidates at a coarse ratio, the best of them again at a fine one; None
                for one pass. The checkpoint's own, if not given.
            compression_ratio: One pass at this ratio, a multiple of the index's.
            fuse: Order by the sum of the z-scores of margin and first-stage score. The
                checkpoint's own choice, if not given.
            filter: Conditions on the metadata; see `kalm_reranker.search.filters`.

        Returns:
            The results, best first, with the stages of the search and what was left out.

        Raises:
            InvalidTextError: The query is empty or cannot be read.
            InvalidOptionError: A setting is out of range.
            InvalidRatioError: A ratio is no multiple of the index's.
            StatesMismatchError: The model is not the one that made the states.
            MissingExtraError: The first stage's library is not installed.
        """
        check_query(query)
        top_k, candidates = check_count(top_k, "top_k"), check_count(candidates, "candidates")
        predicate = None if filter is None else predicate_of(filter)
        name = self._first_stage.check(first_stage or self._first_stage.default)
        plan = self._plan(cascade, compression_ratio)
        if fuse is None:
            fuse = self._settings.blend_with_first_stage
        log = StageLog()
        found, notes = self._first_stage.candidates(
            query, max(candidates, top_k), name, predicate, log
        )
        notes += self._cut_note(query)
        results = self._searcher().rank(
            query,
            found,
            plan,
            top_k=top_k,
            instruction=instruction,
            fuse=checked_flag(fuse, "fuse"),
            log=log,
            notes=notes,
        )
        return self._with_calibration_notes(results, instruction)

    def rerank(
        self,
        query: str,
        ids: Sequence[str] | Mapping[str, float],
        top_k: int | None = None,
        *,
        instruction: str | None = None,
        cascade: CascadeSettings | Unset | None = UNSET,
        compression_ratio: RatioOption = UNSET,
        fuse: bool | None = None,
        missing_ok: bool = False,
    ) -> SearchResults:
        """Ranks candidates of your own from their stored states.

        Args:
            query: The query.
            ids: Ids, best first; or id -> first-stage score.
            top_k: Results wanted; all of them, if not given.
            instruction: As in `search`.
            cascade: As in `search`.
            compression_ratio: As in `search`.
            fuse: As in `search`; it needs scores. If not given, and there are none: no blend.
            missing_ok: Leave out ids that do not exist; a note tells how many.

        Raises:
            UnknownPassageError: An id does not exist.
            InvalidOptionError: An id is named twice, a setting is out of range, or a blend is
                asked for without scores.
        """
        check_query(query)
        names = checked_ids(ids)
        scores = checked_scores(ids) if isinstance(ids, Mapping) else None
        if scores is not None:
            names.sort(key=lambda name: (-scores[name], name))
        if len(set(names)) < len(names):
            twice = Counter(names).most_common(1)[0][0]
            raise InvalidOptionError(f"ids must name each passage once; got {shown(twice)} twice.")
        if fuse is None:
            fuse = scores is not None and self._settings.blend_with_first_stage
        if checked_flag(fuse, "fuse") and scores is None:
            raise InvalidOptionError(
                "fuse needs first-stage scores; got ids without scores.",
                hint='Pass id -> score (in a file: candidates with "score"), or leave fuse out.',
            )
        keys = self._store.keys_of(names) if missing_ok else self._keys(names)
        notes = self._cut_note(query)
        if len(keys) < len(names):
            notes.append(f"{len(names) - len(keys)} of {len(names)} ids are not in the index")
        found = Candidates(
            tuple(keys.values()),
            None if scores is None else {key: scores[name] for name, key in keys.items()},
        )
        results = self._searcher().rank(
            query,
            found,
            self._plan(cascade, compression_ratio),
            top_k=max(1, len(names)) if top_k is None else check_count(top_k, "top_k"),
            instruction=instruction,
            fuse=fuse,
            log=StageLog(),
            notes=notes,
        )
        return self._with_calibration_notes(results, instruction)

    def stats(self) -> IndexStats:
        """Returns how much is stored, and what the hot tier brought."""
        return IndexStats(store=self._store.counts(), hot_tier=self._hot.stats())

    def hot_tier_stats(self) -> HotTierStats:
        """Returns what the hot tier brought; unlike `stats` it reads nothing from disk."""
        return self._hot.stats()

    def verify(self, on_progress: Callable[[int], None] = lambda count: None) -> VerifyReport:
        """Reads every record and checks it; changes nothing.

        Args:
            on_progress: Called now and then with the number of records looked at since.
        """
        return self._store.verify(on_progress)

    def drop_damaged(self, on_progress: Callable[[int], None] = lambda count: None) -> int:
        """Deletes damaged records, so that adding them again encodes them; counts anew.

        It verifies once more while nobody else can write: what was mended meanwhile stays.

        Args:
            on_progress: As in `verify`.

        Returns:
            How many were deleted.

        Raises:
            DamagedStoreError: The file's structure is broken; nothing can be written to it.
        """
        with self._writing():
            report = self._store.verify(on_progress)
            if report.structure:
                raise damage_error(self._store.path, report.damaged, report.structure)
            keys = [item.key for item in report.damaged if item.key is not None]
            if report.damaged:
                self._store.delete_keys(keys)
        return len(keys)

    def compact(self) -> None:
        """Gives the space of deleted and replaced passages back to the file system.

        Raises:
            StoreBusyError: Another process is writing, or a reader does not end.
            StoreWriteError: There is not enough free disk space for a second copy.
        """
        self._store.compact()

    def export(self, folder: str | os.PathLike[str]) -> ExportReport:
        """Writes everything as safetensors and JSON lines, for other software.

        Args:
            folder: A new or empty folder.

        Raises:
            StoreExistsError: The folder holds something already.
            StoreWriteError: It cannot be written.
            DamagedStoreError: A record is damaged.
        """
        return export_index(self._store, Path(folder))

    def sync_first_stage(self) -> list[str]:
        """Brings BM25 and vectors up to date with the store; searches do so by themselves.

        Returns what could not be done, in words.
        """
        return self._first_stage.sync()

    def close(self) -> None:
        """Closes all files. The index opens them again when it is used again."""
        self._first_stage.close()
        self._store.close()

    @contextlib.contextmanager
    def _writing(self, wait_s: float = _WAIT_S) -> Iterator[None]:
        """Holds the writer lock; what is derived from the store is told before it changes."""
        with self._store.writing(wait_s=wait_s):
            self._first_stage.before_write()
            yield

    @property
    def _settings(self) -> RerankerSettings:
        return self.reranker.checkpoint.settings

    def _plan(
        self, cascade: CascadeSettings | Unset | None, compression_ratio: RatioOption
    ) -> ScoringPlan:
        return plan_scoring(
            stored_ratio=self.header.compression_ratio,
            window=self.header.provenance.window,
            default=self._settings.cascade,
            cascade=cascade,
            compression_ratio=compression_ratio,
        )

    def _cut_note(self, query: str) -> list[str]:
        if not self.reranker.is_query_cut(query):
            return []
        limit = self.reranker.options.query_max_length
        return [f"the query was cut at {limit} tokens, this model's limit"]

    def _with_calibration_notes(
        self, results: SearchResults, instruction: str | None
    ) -> SearchResults:
        """Says which of the shown scores lie outside the calibration, if there is one."""
        ratios = sorted({result.compression_ratio for result in results})
        said = [
            f"at ratio {ratio}, {note}"
            for ratio in ratios
            for note in self.reranker.calibration_notes(ratio, instruction)
        ]
        return replace(results, notes=(*results.notes, *said)) if said else results

    def _searcher(self) -> Searcher:
        reader = self._reader()
        with self._made_lock:
            if self._made_searcher is None:
                self._made_searcher = Searcher(self._store, Rescorer(reader, self.reranker))
            return self._made_searcher

    def _reader(self) -> StatesReader:
        dtype = self.reranker.dtype
        with self._made_lock:
            if self._made_reader is None:
                self._made_reader = StatesReader(self._store, self._hot, dtype)
            return self._made_reader

    def _keys(
        self, ids: Sequence[str], *, hint: str = "missing_ok=True (--missing-ok) leaves them out."
    ) -> dict[str, int]:
        keys = self._store.keys_of(ids)
        missing = [name for name in ids if name not in keys]
        if missing:
            raise UnknownPassageError(
                f"{len(missing)} of {len(ids)} ids are not in the index in {self._folder}; "
                f"the first is {shown(missing[0])}.",
                hint=hint,
            )
        return keys

    def _sync_first_stage(self) -> list[str]:
        """Catches up where it can; an add is complete without it, since searches do it too."""
        try:
            return self._first_stage.sync(wait_s=0)
        except (StoreError, MissingExtraError) as error:
            logger.warning("the first stage is not up to date: %s", error)
            return [f"the first stage is not up to date: {error}"]
