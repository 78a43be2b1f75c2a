"""What bringing a first stage up to date came to."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class SyncReport:
    """The outcome of one `sync`.

    Args:
        added: Passages written, new or replaced.
        deleted: Passages taken out.
        rebuilt: Whether everything was written anew rather than only what changed.
        reason: Why it was rebuilt, or why nothing could be done; None otherwise.
        behind: Changes of the store that are not in the first stage: 0, unless another process
            is at work on it.
    """

    added: int = 0
    deleted: int = 0
    rebuilt: bool = False
    reason: str | None = None
    behind: int = 0
