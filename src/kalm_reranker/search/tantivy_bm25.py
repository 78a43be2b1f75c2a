"""BM25 over the passages of a store: a tantivy index beside it that catches up with its changes.

It differs from `BM25FirstStage`, which is for measurements: it lives on disk, takes updates, and
has tantivy's fixed parameters (k1 = 1.2, b = 0.75, passage lengths in steps).
"""

from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

from kalm_reranker.options import check_count
from kalm_reranker.search.analysis import (
    LANGUAGE_SAMPLE,
    Language,
    TextAnalyzer,
    analysis_version,
    check_language,
    looks_english,
)
from kalm_reranker.search.change_feed import ChangeFeed
from kalm_reranker.search.derived_folder import DerivedFolder, FolderState, UnusableFolderError
from kalm_reranker.search.derived_index import DerivedIndex
from kalm_reranker.search.sync_report import SyncReport
from kalm_reranker.search.tantivy_folder import (
    META_FILE,
    TantivyError,
    TantivyReader,
    tantivy_module,
)
from kalm_reranker.search.tantivy_writing import build, catch_up

_FORMAT = 1
# Settings of an index, kept in its state: whether its passages are English, how many there were
# when that was decided (None: it was given), and what their terms depend on.
_ENGLISH, _DECIDED_AT, _ANALYSIS = "english", "language_decided_at", "analysis"


@dataclass(frozen=True, slots=True)
class _Reader:
    """An open index, and what cuts queries as its passages were cut."""

    terms: TantivyReader
    analyzer: TextAnalyzer


class TantivyBM25(DerivedIndex[ChangeFeed, _Reader]):
    """A BM25 index in a folder, derived from a store and brought up to date by `sync`.

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
        super().__init__(
            directory,
            kind="bm25",
            format_version=_FORMAT,
            writable=writable,
            changing_files=(META_FILE,),
        )

    @property
    def num_docs(self) -> int:
        """How many passages can be found."""
        opened = self._current()
        return 0 if opened is None else opened.reader.terms.num_docs

    @property
    def english(self) -> bool:
        """Whether English stop words and endings are removed."""
        opened = self._current()
        return self._language == "english" if opened is None else opened.reader.analyzer.english

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
        weights = Counter(opened.reader.analyzer.terms(query))
        if not weights:
            return []
        try:
            return opened.reader.terms.search(weights, top_k)
        except TantivyError as error:
            raise self._damaged(opened, str(error)) from error

    def _open(self, data: Path, state: FolderState) -> _Reader:
        analyzer = TextAnalyzer(english=state.settings[_ENGLISH])
        try:
            return _Reader(TantivyReader(data), analyzer)
        except TantivyError as error:
            raise UnusableFolderError(str(error)) from error

    def _why_unfit(self, state: FolderState) -> str | None:
        english: bool = state.settings[_ENGLISH]
        if self._language not in ("auto", "english" if english else "other"):
            return "it was built for another language"
        if state.settings[_ANALYSIS] != analysis_version(english=english):
            return "its texts were analysed in another way"
        return None

    def _is_decision_due(self, state: FolderState, feed: ChangeFeed) -> bool:
        if self._language != "auto":
            return False
        decided_at = state.settings[_DECIDED_AT]
        if decided_at is None:  # the language was given then, not decided
            return True
        return bool(decided_at < LANGUAGE_SAMPLE and feed.num_passages() >= max(1, 2 * decided_at))

    def _catch_up(
        self,
        folder: DerivedFolder,
        state: FolderState,
        feed: ChangeFeed,
        last: int,
        on_progress: Callable[[int], None],
    ) -> SyncReport:
        english, decided_at = state.settings[_ENGLISH], state.settings[_DECIDED_AT]
        if self._is_decision_due(state, feed):
            english, decided_at = self._decided_language(feed)
        if english != state.settings[_ENGLISH]:
            raise UnusableFolderError("its passages were of another language", is_damage=False)
        analyzer = TextAnalyzer(english=english)
        state = replace(state, settings=_settings(analyzer, decided_at))
        return catch_up(folder, state, feed, analyzer, last=last, on_progress=on_progress)

    def _build(
        self,
        folder: DerivedFolder,
        state: FolderState,
        feed: ChangeFeed,
        on_progress: Callable[[int], None],
    ) -> SyncReport:
        english, decided_at = self._decided_language(feed)
        analyzer = TextAnalyzer(english=english)
        state = replace(state, settings=_settings(analyzer, decided_at))
        return build(folder, state, feed, analyzer, on_progress=on_progress)

    def _decided_language(self, feed: ChangeFeed) -> tuple[bool, int | None]:
        """Returns whether it is English, and of how many passages; None where that was given."""
        if self._language != "auto":
            return self._language == "english", None
        return looks_english(feed.sample_texts(LANGUAGE_SAMPLE)), feed.num_passages()


def _settings(analyzer: TextAnalyzer, decided_at: int | None) -> dict[str, bool | int | str | None]:
    return {
        _ENGLISH: analyzer.english,
        _DECIDED_AT: decided_at,
        _ANALYSIS: analysis_version(english=analyzer.english),
    }
