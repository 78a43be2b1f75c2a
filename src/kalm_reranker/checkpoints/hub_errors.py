"""The hub library's errors in this package's terms: what failed, and what to do instead."""

from kalm_reranker.errors import (
    CheckpointError,
    CheckpointNotFoundError,
    CheckpointUnavailableError,
    InvalidCheckpointError,
)


def typed_hub_error(error: Exception, hub_id: str, revision: str, file: str) -> CheckpointError:
    """Returns the error to raise for one that the hub library raised while fetching a file."""
    from huggingface_hub import errors as hub

    # The order matters: gated is a kind of not found, and a file missing from the cache is, in
    # some releases, a kind of a file missing from the repository.
    if isinstance(error, hub.GatedRepoError):
        return CheckpointNotFoundError(
            f"{hub_id} is gated: the hub gives it only to accounts that accepted its terms.",
            hint="Accept the terms on the model's page on the hub, then log in with "
            "`hf auth login` or pass a token of that account.",
        )
    if isinstance(error, hub.RevisionNotFoundError):
        return CheckpointNotFoundError(
            f"{hub_id} has no revision {revision!r}.",
            hint="Give a branch, tag or full commit of that repository, or leave it out.",
        )
    if isinstance(error, hub.RepositoryNotFoundError):
        return CheckpointNotFoundError(
            f"There is no directory {hub_id!r}, and the hub has no model repository of that name, "
            "or it is private and this account may not see it.",
            hint="Check the spelling; for a private one log in with `hf auth login` or pass a "
            "token.",
        )
    if isinstance(error, hub.LocalEntryNotFoundError):
        cause = error.__cause__
        if isinstance(cause, hub.HfHubHTTPError):  # the hub did answer
            return typed_hub_error(cause, hub_id, revision, file)
        return not_in_cache(hub_id, revision, file, cause=cause or error)
    if isinstance(error, hub.EntryNotFoundError):
        return not_on_hub(hub_id, revision, file)
    status = getattr(getattr(error, "response", None), "status_code", None)
    if status in (401, 403):
        return CheckpointNotFoundError(
            f"The hub refused access to {hub_id} (HTTP status {status}).",
            hint="Log in with `hf auth login` or pass a token that may read this repository.",
        )
    return CheckpointUnavailableError(
        f"{file} of {hub_id} (revision {revision}) could not be fetched: {describe(error)}.",
        hint=_elsewhere(hub_id),
    )


def not_in_cache(
    hub_id: str, revision: str, file: str, *, cause: BaseException | None
) -> CheckpointUnavailableError:
    """Returns the error for a file that the cache lacks while the hub cannot be asked.

    Args:
        hub_id: The repository.
        revision: What was asked for.
        file: The file.
        cause: Why the hub cannot be asked; None where the caller forbade it.
    """
    reason = "the network may not be used" if cause is None else describe(cause)
    return CheckpointUnavailableError(
        f"{file} of {hub_id} (revision {revision}) is not in the cache, and the hub cannot be "
        f"reached: {reason}.",
        hint=_elsewhere(hub_id),
    )


def not_on_hub(hub_id: str, revision: str, file: str) -> InvalidCheckpointError:
    """Returns the error for a needed file that the repository does not have."""
    return InvalidCheckpointError(
        f"{hub_id} (revision {revision}) has no {file}; needed are config.json, tokenizer.json, "
        "and model.safetensors or model.safetensors.index.json with its shards. Only safetensors "
        "weights are read.",
    )


def is_offline_mode(error: BaseException) -> bool:
    """Returns whether the hub was not asked because the user's environment forbids it."""
    from huggingface_hub.errors import OfflineModeIsEnabled

    return isinstance(error, OfflineModeIsEnabled)


def _elsewhere(hub_id: str) -> str:
    return (
        f"Where there is a connection, run `hf download {hub_id} --local-dir DIRECTORY`, bring "
        'that directory here and pass its path; or use the bundled model "pico".'
    )


def describe(error: BaseException) -> str:
    """Returns an error of the hub library as one phrase."""
    if is_offline_mode(error):
        return "offline mode is on (HF_HUB_OFFLINE)"
    status = getattr(getattr(error, "response", None), "status_code", None)
    if status is not None:
        return f"HTTP status {status}"
    # One line, without the full stop the sentence around it brings.
    text = " ".join(str(error).split()).rstrip(".")
    return f"{type(error).__name__}: {text}" if text else type(error).__name__
