"""Checkpoints of the model hub: only the files a reranker needs, with typed errors."""

import logging
import os
import re
from pathlib import Path

from kalm_reranker.checkpoints.checkpoint import (
    CONFIG_FILE,
    TOKENIZER_FILE,
    WEIGHTS_FILE,
    WEIGHTS_INDEX_FILE,
    Checkpoint,
    checkpoint_from_directory,
    shard_names,
)
from kalm_reranker.checkpoints.hub_errors import (
    describe,
    is_offline_mode,
    not_in_cache,
    not_on_hub,
    typed_hub_error,
)
from kalm_reranker.checkpoints.known import known_by_hub_id
from kalm_reranker.checkpoints.settings import SETTINGS_FILE, RerankerSettings
from kalm_reranker.errors import CheckpointError, InvalidOptionError

logger = logging.getLogger(__name__)

# Not read by this package, but kept beside the tokenizer so that the cached directory also loads
# in the libraries that do.
_TOKENIZER_CONFIG_FILE = "tokenizer_config.json"
_COMMIT = re.compile(r"[0-9a-f]{40}")


def hub_checkpoint(
    hub_id: str,
    *,
    revision: str | None = None,
    token: str | bool | None = None,
    cache_dir: str | os.PathLike[str] | None = None,
    local_files_only: bool = False,
) -> Checkpoint:
    """Returns a checkpoint of the hub, downloading what the cache lacks.

    All files are taken from one commit. A checkpoint that is complete in the cache costs one HEAD
    request (is there a newer commit?), and none where `revision` is itself a commit. Without a
    connection the cached commit is used, with a warning in the log.

    Endpoint, cache and offline mode follow the hub library (HF_ENDPOINT, HF_HOME, HF_HUB_OFFLINE,
    HF_TOKEN, ...).

    Args:
        hub_id: "organisation/name".
        revision: Branch, tag or commit; None means the main branch.
        token: Access token; None means the one the hub library finds, False none.
        cache_dir: The cache; None means the hub library's own.
        local_files_only: Never use the network.

    Raises:
        CheckpointNotFoundError: No such repository or revision, or no access to it.
        CheckpointUnavailableError: The hub cannot be reached and the cache lacks a needed file.
        InvalidCheckpointError: The repository is no checkpoint this package can run.
        InvalidOptionError: The token cannot be one.
    """
    repository = _Repository(
        hub_id,
        revision=revision or "main",
        token=_checked_token(token),
        cache_dir=cache_dir,
        local_files_only=local_files_only,
    )
    directory = repository.open()
    repository.fetch(TOKENIZER_FILE)
    # Before the weights: where weights are cached, it is then known whether these exist.
    repository.fetch_optional(SETTINGS_FILE)
    repository.fetch_optional(_TOKENIZER_CONFIG_FILE)
    if repository.fetch_optional(WEIGHTS_FILE) is None:
        for shard in shard_names(repository.fetch(WEIGHTS_INDEX_FILE)):
            repository.fetch(shard)
    return _from_snapshot(directory, hub_id)


def cached_checkpoint(
    hub_id: str, *, cache_dir: str | os.PathLike[str] | None = None
) -> Checkpoint | None:
    """Returns the checkpoint as the cache holds it, or None where it is absent or incomplete.

    Uses no network and writes nothing.
    """
    from huggingface_hub import try_to_load_from_cache

    folder = None if cache_dir is None else os.fspath(cache_dir)
    config = try_to_load_from_cache(hub_id, CONFIG_FILE, cache_dir=folder)
    if not isinstance(config, str):
        return None
    directory = Path(config).parent
    try:
        return _from_snapshot(directory, hub_id)
    except CheckpointError:
        return None


class _Repository:
    """One revision of one repository, seen through the hub library's cache.

    Args:
        hub_id: See `hub_checkpoint`, as for the others.
        revision: Branch, tag or commit; replaced by the commit in `open`.
        token: See `hub_checkpoint`.
        cache_dir: See `hub_checkpoint`.
        local_files_only: See `hub_checkpoint`.
    """

    def __init__(
        self,
        hub_id: str,
        *,
        revision: str,
        token: str | bool | None,
        cache_dir: str | os.PathLike[str] | None,
        local_files_only: bool,
    ) -> None:
        self._hub_id = hub_id
        self._revision = revision
        self._token = token
        self._cache_dir = None if cache_dir is None else os.fspath(cache_dir)
        self._is_probed = local_files_only
        self._is_offline = local_files_only
        self._probe_error: Exception | None = None
        self._latest_commit: str | None = None

    def open(self) -> Path:
        """Fetches `config.json`, fixes the commit, and returns the directory of all its files."""
        is_fixed = _COMMIT.fullmatch(self._revision) is not None
        if not is_fixed:
            self._probe()
        cached, _ = self._look_up(CONFIG_FILE)
        if cached is not None and (
            is_fixed or self._is_offline or cached.parent.name == self._latest_commit
        ):
            path = cached
        else:
            path = self._download(CONFIG_FILE)
        error = self._probe_error
        if path == cached and error is not None and not is_offline_mode(error):
            logger.warning(
                "%s: the hub did not name its newest commit (%s); using the cached commit %s.",
                self._hub_id,
                describe(error),
                path.parent.name,
            )
        self._revision = path.parent.name
        return path.parent

    def fetch(self, file: str) -> Path:
        """Returns the path of a file that must exist."""
        path, is_known_absent = self._look_up(file)
        if path is not None:
            return path
        if is_known_absent:
            raise not_on_hub(self._hub_id, self._revision, file)
        return self._download(file)

    def fetch_optional(self, file: str) -> Path | None:
        """Returns the path of a file, or None where the repository has none.

        Without a network, a file missing from the cache counts as absent, because downloads by
        other programs leave no mark for absent files. That could hide a settings file, so it is
        logged, except for the official models, which have none.
        """
        path, is_known_absent = self._look_up(file)
        if path is not None or is_known_absent:
            return path
        self._probe()
        if self._is_offline:
            if file == SETTINGS_FILE and known_by_hub_id(self._hub_id) is None:
                logger.warning(
                    "%s: %s is not in the cache and cannot be looked up without a network; "
                    "using the default prompt and lengths.",
                    self._hub_id,
                    file,
                )
            return None
        from huggingface_hub.errors import EntryNotFoundError, LocalEntryNotFoundError

        try:
            return self._download_raw(file)
        except LocalEntryNotFoundError as error:  # first: in some releases a subclass of the next
            raise typed_hub_error(error, self._hub_id, self._revision, file) from error
        except EntryNotFoundError:
            return None
        except Exception as error:
            raise typed_hub_error(error, self._hub_id, self._revision, file) from error

    def _look_up(self, file: str) -> tuple[Path | None, bool]:
        """Returns the cached path, and whether the cache knows that the file does not exist."""
        from huggingface_hub import try_to_load_from_cache

        cached = try_to_load_from_cache(
            self._hub_id, file, cache_dir=self._cache_dir, revision=self._revision
        )
        if isinstance(cached, str):
            return Path(cached), False
        return None, cached is not None

    def _probe(self) -> None:
        """Finds out, once, whether the hub answers and which commit it would give.

        Without this, the hub library retries each missing file for 23 s (measured, closed port)
        before it gives up on a connection.
        """
        if self._is_probed:
            return
        self._is_probed = True
        from huggingface_hub import constants, get_hf_file_metadata, hf_hub_url
        from huggingface_hub.errors import HfHubHTTPError

        url = hf_hub_url(self._hub_id, CONFIG_FILE, revision=self._revision)
        try:
            # The timeout is given because not every release takes it from the environment here.
            metadata = get_hf_file_metadata(
                url, token=self._token, timeout=constants.HF_HUB_ETAG_TIMEOUT
            )
        except HfHubHTTPError as error:
            # The hub answered, if only with a refusal. The download that follows gives it a name,
            # retries where the hub is busy, and takes the cached file where a token expired.
            self._probe_error = error
        except Exception as error:
            # Anything: the hub library changed its HTTP client between releases, and the errors
            # of the two have no common base.
            self._probe_error = error
            self._is_offline = True
        else:
            self._latest_commit = metadata.commit_hash

    def _download(self, file: str) -> Path:
        self._probe()
        if self._is_offline:
            raise not_in_cache(
                self._hub_id, self._revision, file, cause=self._probe_error
            ) from self._probe_error
        try:
            return self._download_raw(file)
        except Exception as error:  # any: see _probe
            raise typed_hub_error(error, self._hub_id, self._revision, file) from error

    def _download_raw(self, file: str) -> Path:
        from huggingface_hub import hf_hub_download

        return Path(
            hf_hub_download(
                self._hub_id,
                file,
                revision=self._revision,
                token=self._token,
                cache_dir=self._cache_dir,
            )
        )


def _from_snapshot(directory: Path, hub_id: str) -> Checkpoint:
    """Returns the checkpoint in a snapshot folder of the cache, which is named after its commit."""
    return checkpoint_from_directory(
        directory,
        name=hub_id,
        source="hub",
        revision=directory.name,
        defaults=_defaults(hub_id),
    )


def _defaults(hub_id: str) -> RerankerSettings:
    known = known_by_hub_id(hub_id)
    if known is None:
        return RerankerSettings()
    return RerankerSettings(trained_ratios=known.trained_ratios)


def _checked_token(token: str | bool | None) -> str | bool | None:
    # Refused here, because the HTTP client would quote the whole token in its error.
    if isinstance(token, str) and not re.fullmatch(r"[!-~]+", token):
        raise InvalidOptionError(
            "token must be printable ASCII without spaces or line breaks; got another text "
            f"({len(token)} characters, not shown)."
        )
    return token
