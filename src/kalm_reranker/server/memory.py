"""How much memory this process takes, and how much it keeps of what was freed."""

import ctypes
import os
import sys
from contextlib import suppress
from pathlib import Path

_STATM = Path("/proc/self/statm")

# Of glibc's malloc.h.
_M_ARENA_MAX = -8
_ARENAS = 2


def share_arenas() -> None:
    """Has threads allocate from few arenas; call it before there are many threads.

    glibc gives each of a few dozen threads an arena of its own, and keeps what is freed there: with
    a thread per waiting request that came to hundreds of megabytes. MALLOC_ARENA_MAX, if it is set,
    decides instead.
    """
    if "MALLOC_ARENA_MAX" not in os.environ:
        with suppress(OSError, AttributeError):  # another system, another C library
            ctypes.CDLL("libc.so.6").mallopt(_M_ARENA_MAX, _ARENAS)


def resident_bytes() -> int | None:
    """Returns the resident memory of this process; where no file says it, its peak, or None."""
    try:
        return int(_STATM.read_text(encoding="ascii").split()[1]) * os.sysconf("SC_PAGE_SIZE")
    except (OSError, ValueError, IndexError):
        pass
    try:
        import resource
    except ImportError:  # Windows
        return None
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak * 1024
