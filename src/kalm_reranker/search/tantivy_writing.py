"""How a store's texts get into a tantivy folder: all of them, or only what changed."""

import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

from kalm_reranker.search.analysis import TextAnalyzer
from kalm_reranker.search.change_feed import ChangeFeed
from kalm_reranker.search.derived_folder import (
    DerivedFolder,
    FolderState,
    UnusableFolderError,
    file_hash,
)
from kalm_reranker.search.sync_report import SyncReport
from kalm_reranker.search.tantivy_folder import (
    TantivyError,
    TantivyWriter,
    dead_share,
    index_files,
)

# Changes after which a catch-up is made durable: what a crash can cost, and what tantivy keeps in
# memory of deletions (about 100 bytes each).
_CHANGES_PER_COMMIT = 100_000
# From how many changes on the larger heap pays.
_MANY_CHANGES = 5_000
# Deleted passages count in the statistics until they are gone; over this share, all is rewritten.
_MOST_DEAD = 0.25
# Below this much free space an error of tantivy counts as the disk's, which no rebuild would mend.
_LITTLE_SPACE_BYTES = 100_000_000


def catch_up(
    folder: DerivedFolder,
    state: FolderState,
    feed: ChangeFeed,
    analyzer: TextAnalyzer,
    *,
    last: int,
    on_progress: Callable[[int], None],
) -> SyncReport:
    """Applies what changed since `state`, up to the change `last`, and makes it current.

    For the holder of the folder's lock.

    Raises:
        UnusableFolderError: The index is damaged, or mostly deleted; build it anew.
        StoreWriteError: The disk is full or read-only; the folder is as it was.
    """
    data = folder.data(state)
    changes = iter(feed.changes_since(state.synced_change))
    num_added = num_deleted = 0
    is_done = False
    try:
        while not is_done:
            is_large = last - state.synced_change > _MANY_CHANGES
            with TantivyWriter(data, is_large=is_large) as writer:
                is_done = True
                for number, change in enumerate(changes, start=1):
                    if change.change > last:  # newer than what is promised; next time
                        break
                    writer.delete(change.key)
                    if change.text is None:
                        num_deleted += 1
                    else:
                        writer.add(change.key, analyzer.terms(change.text))
                        num_added += 1
                    on_progress(1)
                    if number == _CHANGES_PER_COMMIT:
                        state, is_done = replace(state, synced_change=change.change), False
                        break
                writer.commit()
                writer.finish()
            synced = last if is_done else state.synced_change
            state = replace(state, synced_change=synced, files=_hashed(data, state))
            folder.write_state(state)
        if dead_share(data) > _MOST_DEAD:
            raise UnusableFolderError("much of it was deleted passages", is_damage=False)
    except TantivyError as error:
        if shutil.disk_usage(data).free < _LITTLE_SPACE_BYTES:
            raise folder.write_error(str(error)) from error
        raise UnusableFolderError(str(error)) from error
    return SyncReport(added=num_added, deleted=num_deleted)


def build(
    folder: DerivedFolder,
    state: FolderState,
    feed: ChangeFeed,
    analyzer: TextAnalyzer,
    *,
    on_progress: Callable[[int], None],
) -> SyncReport:
    """Writes all passages up to a change into a new generation and makes it current.

    For the holder of the folder's lock.

    Args:
        folder: Where.
        state: What is to become current; its generation and files are yet to come.
        feed: The passages.
        analyzer: Cuts them into terms.
        on_progress: Told how many more passages are done.

    Raises:
        StoreWriteError: The disk is full, read-only, or fails; what was current still is.
    """
    generation = folder.new_generation()
    state = replace(state, generation=generation)
    data = folder.data(state)
    num_added = 0
    try:
        is_large = feed.num_passages() > _MANY_CHANGES
        with TantivyWriter(data, is_large=is_large) as writer:
            for change in feed.changes_since(0):
                # A passage that changes meanwhile would come twice; the next sync has it.
                if change.change > state.synced_change:
                    break
                if change.text is not None:
                    writer.add(change.key, analyzer.terms(change.text))
                    num_added += 1
                    on_progress(1)
            writer.commit()
            writer.finish()
        folder.write_state(replace(state, files=_hashed(data, state)))
    except TantivyError as error:
        shutil.rmtree(data, ignore_errors=True)
        raise folder.write_error(str(error)) from error
    except BaseException:
        shutil.rmtree(data, ignore_errors=True)
        raise
    folder.remove_leftovers(generation)
    return SyncReport(added=num_added, rebuilt=True)


def _hashed(data: Path, state: FolderState) -> dict[str, tuple[int, str]]:
    """Returns size and hash of the index's files; a file never changes once it has its name."""
    hashed = {}
    for name in index_files(data):
        path = data / name
        size = path.stat().st_size
        known = state.files.get(name)
        is_kept = known is not None and known[0] == size and path.suffix != ".json"
        hashed[name] = known if known is not None and is_kept else (size, file_hash(path))
    return hashed
