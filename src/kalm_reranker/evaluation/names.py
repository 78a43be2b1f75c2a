"""File names for what people name freely: datasets and rankers."""

import hashlib
import re
from collections.abc import Sequence

from kalm_reranker.errors import InvalidOptionError

_MOST_CHARACTERS = 80
_SUFFIX_CHARACTERS = 6
# Windows opens devices by these names, whatever follows the first dot.
_DEVICES = re.compile(r"(con|prn|aux|nul|com\d|lpt\d)(\..*)?", re.IGNORECASE)


def file_name(name: str) -> str:
    """Returns a name for files, the same for the same name.

    Names of plain characters stay as they are, except that a space becomes "_". Any other name,
    one that is long, and one that a file system takes for something else gets a few characters of
    its hash, since different ones could become equal otherwise.

    Example:
        >>> file_name("scifact"), file_name("pico r=2")
        ('scifact', 'pico_r=2')
    """
    plain = re.sub(r"[^A-Za-z0-9._=+:-]+", "_", name)
    # Colons are no file names on Windows, and file systems may not tell case apart.
    plain = plain.replace(":", "-").strip("._-")[:_MOST_CHARACTERS]
    is_told_apart = plain == name or ("_" not in name and plain == name.replace(" ", "_"))
    is_device = _DEVICES.fullmatch(plain) is not None
    if plain and is_told_apart and not is_device:
        return plain
    digest = hashlib.sha256(name.encode("utf-8", "surrogatepass")).hexdigest()
    found = f"{plain}-{digest[:_SUFFIX_CHARACTERS]}".lstrip("-")
    return f"_{found}" if is_device else found


def file_names(names: Sequence[str]) -> dict[str, str]:
    """Returns name -> `file_name`, each a different one, also where case is not told apart.

    Raises:
        InvalidOptionError: Two names are the same, or too much alike.
    """
    found: dict[str, str] = {}
    owners: dict[str, str] = {}
    for name in names:
        found[name] = file_name(name)
        other = owners.setdefault(found[name].casefold(), name)
        if names.count(name) > 1 or other != name:
            raise InvalidOptionError(
                f"names must be different, also as names of files; got {other!r} and {name!r}.",
                hint="Leave out or rename one of them.",
            )
    return found
