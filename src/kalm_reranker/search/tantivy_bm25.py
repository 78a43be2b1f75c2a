"""BM25 over the passages of a store: a tantivy index beside it that catches up with its changes.

It differs from `BM25FirstStage`, which is for measurements: it lives on disk, takes updates, and
has tantivy's fixed parameters (k1 = 1.2, b = 0.75, passage lengths in steps).
"""

import logging
import threading
from collections import Counter
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass, replace
from pathlib import Path

from kalm_reranker.errors import DamagedStoreError, StoreError
from kalm_reranker.options import check_count
from kalm_reranker.search.analysis import (
    LANGUAGE_SAMPLE,
    Language,
    TextAnalyzer,
    check_language,
    looks_english,
)
from kalm_reranker.search.change_feed import ChangeFeed
from kalm_reranker.search.derived_folder import DerivedFolder, FolderState, UnusableFolderError
from kalm_reranker.search.folder_access import FolderAccess
from kalm_reranker.search.sync_report import SyncReport
from kalm_reranker.search.tantivy_folder import (
    META_FILE,
    TantivyError,
    TantivyReader,
    tantivy_module,
)
from kalm_reranker.search.tantivy_writing import build, catch_up

logger = logging.getLogger(__name__)

_FORMAT = 1
# Settings of an index, kept in its state: whether its passages are English, how many there were
# when that was decided (None: it was given), and what their terms depend on.
_ENGLISH, _DECIDED_AT, _ANALYSIS = "english", "language_decided_at", "analysis"


class TantivyBM25:
    """A BM25 index in a folder, derived from a store and brought up to date by `sync`.

    Threads may search while another one syncs. Of several processes one writes at a time; the
    others go on with what is current.

    Args:
        directory: The index's own folder; made by the first `sync`.
        language: "english", "other" (words only), or "auto" to decide by up to 1,000 passages,
            and again when a store that was smaller then has doubled.
        writable: False leaves the folder alone: where it is missing or behind, the index is kept
            up to date in a temporary folder until `close`. So is that of a folder that turns out
            to be read-only.

    Raises:
        InvalidOptionError: `language` is none of the three.
        MissingExtraError: tantivy is not installed.
    """

    def __init__(
        self, directory: Path, *, language: Language = "auto", writable: bool = True
    ) -> None:
        self._language = check_language(language)
        tantivy_module()
        self._access = FolderAccess(
            Path(directory),
            kind="bm25",
            format_version=_FORMAT,
            writable=writable,
            changing_files=(META_FILE,),
        )
        # What is open; the first lock guards it, the second one lets one thread sync at a time.
        self._lock, self._sync_lock = threading.RLock(), threading.Lock()
        self._opened: _Opened | None = None
        self._identity: object = None
        self._is_closed = False

    @property
    def synced_change(self) -> int:
        """The store's change up to which passages can be found; 0 where nothing was written."""
        opened = self._current()
        return 0 if opened is None else opened.state.synced_change

    @property
    def num_docs(self) -> int:
        """How many passages can be found."""
        opened = self._current()
        return 0 if opened is None else opened.reader.num_docs

    @property
    def english(self) -> bool:
        """Whether English stop words and endings are removed."""
        opened = self._current()
        return self._language == "english" if opened is None else opened.analyzer.english

    def is_behind(self, feed: ChangeFeed) -> bool:
        """Returns whether `sync` has something to do."""
        opened = self._current()
        return (
            opened is None
            or self._why_unfit(opened.state, feed, feed.last_change()) is not None
            or opened.state.synced_change != feed.last_change()
            or self._is_language_due(opened.state, feed)
        )

    def search(self, query: str, top_k: int) -> list[tuple[int, float]]:
        """Returns the best passages for a query.

        Args:
            query: Any text.
            top_k: Most passages returned. Only passages that share a term with the query are.

        Returns:
            (key, score), best first, equal scores by key. Scores are positive and only comparable
            within the query. Nothing before the first `sync`.

        Raises:
            InvalidOptionError: `top_k` is not a positive integer.
            DamagedStoreError: The index turned out to be damaged; the next `sync` rebuilds it.
        """
        check_count(top_k, "top_k")
        opened = self._current()
        if opened is None:
            return []
        weights = Counter(opened.analyzer.terms(query))
        if not weights:
            return []
        try:
            return opened.reader.search(weights, top_k)
        except TantivyError as error:
            self._drop(opened)
            raise DamagedStoreError(
                f"The BM25 index in {self._access.folder.path} cannot be read: {error}.",
                hint="It is built again from the store when it is next brought up to date; "
                "search again.",
            ) from error

    def sync(
        self, feed: ChangeFeed, *, on_progress: Callable[[int], None] = lambda count: None
    ) -> SyncReport:
        """Brings the index up to date with a store.

        What is missing, damaged, of another store, format or language is built from all passages.

        Args:
            feed: The store's passages.
            on_progress: Told how many more passages are done.

        Raises:
            StoreWriteError: The disk is full or fails; what was current still is.
            MissingExtraError: The passages are English and PyStemmer is not installed.
        """
        with self._sync_lock, ExitStack() as stack:
            if not self.is_behind(feed):
                return SyncReport()
            if not self._access.enter_lock(stack):
                return SyncReport(
                    reason="another process is writing",
                    behind=max(1, feed.last_change() - self.synced_change),
                )
            try:
                return self._sync_alone(feed, on_progress)
            finally:
                self._current()  # before the lock is given up, so that it is ours that is opened

    def close(self) -> None:
        """Lets go of the files, and deletes the temporary ones."""
        with self._sync_lock, self._lock:
            self._is_closed = True
            self._opened = None
            self._access.close()

    def _sync_alone(self, feed: ChangeFeed, on_progress: Callable[[int], None]) -> SyncReport:
        folder = self._access.folder
        last = feed.last_change()
        try:
            return self._catch_up(folder, feed, last, on_progress)
        except UnusableFolderError as error:
            level = logging.WARNING if error.is_damage else logging.INFO
            logger.log(level, "Building the BM25 index in %s: %s.", folder.path, error.reason)
            reason = error.reason
        with self._lock:
            if self._opened is not None and self._opened.state.store_id != feed.store_id:
                self._opened = None  # its keys mean other passages
        report = self._build(folder, feed, last, on_progress)
        return replace(report, reason=reason)

    def _catch_up(
        self,
        folder: DerivedFolder,
        feed: ChangeFeed,
        last: int,
        on_progress: Callable[[int], None],
    ) -> SyncReport:
        state = folder.read_state()
        unfit = self._why_unfit(state, feed, last)
        if unfit is not None:
            raise UnusableFolderError(unfit, is_damage=False)
        folder.verify(state)
        english, decided_at = self._decide_language(state, feed)
        if state.settings[_ENGLISH] != english:
            raise UnusableFolderError("its passages were of another language", is_damage=False)
        analyzer = TextAnalyzer(english=english)
        if state.settings[_ANALYSIS] != analyzer.version:
            raise UnusableFolderError("its texts were analysed in another way", is_damage=False)
        folder.remove_leftovers(state.generation)
        state = replace(state, settings=_settings(analyzer, decided_at))
        return catch_up(folder, state, feed, analyzer, last=last, on_progress=on_progress)

    def _build(
        self,
        folder: DerivedFolder,
        feed: ChangeFeed,
        last: int,
        on_progress: Callable[[int], None],
    ) -> SyncReport:
        english, decided_at = self._decide_language(None, feed)
        analyzer = TextAnalyzer(english=english)
        state = FolderState(
            store_id=feed.store_id,
            synced_change=last,
            generation="",
            settings=_settings(analyzer, decided_at),
        )
        return build(folder, state, feed, analyzer, on_progress=on_progress)

    def _why_unfit(self, state: FolderState, feed: ChangeFeed, last: int) -> str | None:
        """Returns why an index cannot be brought up to date; None if it can."""
        if state.store_id != feed.store_id:
            return "it belongs to another store"
        if state.synced_change > last:
            return "the store is an older copy of itself"
        if self._language not in ("auto", "english" if state.settings[_ENGLISH] else "other"):
            return "it was built for another language"
        return None

    def _is_language_due(self, state: FolderState, feed: ChangeFeed) -> bool:
        if self._language != "auto":
            return False
        decided_at = state.settings[_DECIDED_AT]
        if decided_at is None:  # the language was given then, not decided
            return True
        return bool(decided_at < LANGUAGE_SAMPLE and feed.num_passages() >= max(1, 2 * decided_at))

    def _decide_language(
        self, state: FolderState | None, feed: ChangeFeed
    ) -> tuple[bool, int | None]:
        """Returns whether it is English, and of how many passages; None where that was given."""
        if self._language != "auto":
            return self._language == "english", None
        if state is not None and not self._is_language_due(state, feed):
            return state.settings[_ENGLISH], state.settings[_DECIDED_AT]
        return looks_english(feed.sample_texts(LANGUAGE_SAMPLE)), feed.num_passages()

    def _current(self) -> "_Opened | None":
        """Returns the open index, after opening what became current since."""
        with self._lock:
            if self._is_closed:
                raise StoreError("The BM25 index was closed.", hint="Open it again to search.")
            folder = self._access.folder
            identity = (folder.path, folder.identity())
            if identity != self._identity:
                self._identity = identity
                try:
                    self._opened = _open(folder)
                except (UnusableFolderError, TantivyError) as error:
                    # Being written at this moment, or damaged: the next sync finds out which.
                    logger.debug("The BM25 index in %s is not open: %s.", folder.path, error)
            return self._opened

    def _drop(self, opened: "_Opened") -> None:
        with self._lock:
            if self._opened is opened:
                self._opened = None
                self._access.folder.invalidate()


@dataclass(frozen=True, slots=True)
class _Opened:
    """An index as it was when it was opened, and what cuts queries as its passages were cut."""

    state: FolderState
    reader: TantivyReader
    analyzer: TextAnalyzer


def _open(folder: DerivedFolder) -> _Opened:
    state = folder.read_state()
    folder.verify(state)
    analyzer = TextAnalyzer(english=state.settings[_ENGLISH])
    return _Opened(state, TantivyReader(folder.data(state)), analyzer)


def _settings(analyzer: TextAnalyzer, decided_at: int | None) -> dict[str, bool | int | str | None]:
    return {_ENGLISH: analyzer.english, _DECIDED_AT: decided_at, _ANALYSIS: analyzer.version}
