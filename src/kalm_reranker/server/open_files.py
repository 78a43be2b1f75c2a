"""How many files the process may have open: connections are files, and so is much of an index."""

import logging

from kalm_reranker.server.settings import Limits

logger = logging.getLogger(__name__)

# Clients keep connections open between requests.
IDLE_CONNECTIONS = 512
# The thread of a request keeps the index's database open, with its log.
_FILES_OF_A_REQUEST = 2
_OTHER_FILES = 256  # model, first stages, libraries, whoever else is in the process


def most_connections(limits: Limits) -> int:
    """Returns how many connections are taken at once: those at work, and those that are kept."""
    return limits.max_pending_requests + IDLE_CONNECTIONS


def allow_open_files(limits: Limits) -> None:
    """Raises the process's own limit of open files to what it may need, as far as it is free to.

    Most systems begin with 1,024 and let each process have many more. Without a file to spare,
    connections cannot be taken, and an index can neither be read nor written.
    """
    try:
        import resource  # not on Windows, which has no such limit
    except ModuleNotFoundError:
        return
    needed = most_connections(limits) + _OTHER_FILES
    needed += _FILES_OF_A_REQUEST * limits.max_pending_requests
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft == resource.RLIM_INFINITY or soft >= needed:
        return
    allowed = needed if hard == resource.RLIM_INFINITY else min(needed, hard)
    try:
        resource.setrlimit(resource.RLIMIT_NOFILE, (allowed, hard))
    except (OSError, ValueError):  # a system with a lower limit of its own
        allowed = soft
    if allowed < needed:
        logger.warning(
            "this process may have %d files open and needs up to %d under full load: raise the "
            "limit (ulimit -n), or lower --max-pending-requests",
            allowed,
            needed,
        )
