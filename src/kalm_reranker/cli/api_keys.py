"""API keys of a server: from a file or the environment, never from the command line.

What is typed there, every user of the machine can read in the list of processes.
"""

import re
from pathlib import Path

from kalm_reranker.errors import InvalidOptionError

VARIABLE = "KALM_API_KEYS"

_KEY = re.compile(r"[!-~]+\Z")  # what a header can carry, whatever is in between


def read_api_keys(variable: str | None, file: Path | None) -> tuple[str, ...]:
    """Returns all keys, each once.

    Args:
        variable: Value of KALM_API_KEYS: keys with commas or white space between them.
        file: One key a line; what follows white space and a # is a comment.

    Raises:
        InvalidOptionError: One of the two is given and holds no key, or something else. Messages
            never hold a key.
    """
    keys: list[str] = []
    if variable:
        found = [part for part in re.split(r"[,\s]+", variable) if part]
        keys += [_checked(key, VARIABLE) for key in found]
        if not found:
            raise InvalidOptionError(
                f"{VARIABLE} is set but holds no key.", hint="Unset it to guard nothing."
            )
    if file is not None:
        keys += _keys_in(file)
    return tuple(dict.fromkeys(keys))


def _keys_in(file: Path) -> list[str]:
    try:
        lines = file.read_text(encoding="utf-8").splitlines()
    except OSError as error:
        raise InvalidOptionError(
            f"--api-key-file {file} cannot be read: {(error.strerror or 'error').lower()}."
        ) from None
    except UnicodeDecodeError:
        raise InvalidOptionError(f"--api-key-file {file} is no UTF-8 text.") from None
    keys = []
    for number, line in enumerate(lines, start=1):
        key, _, rest = line.strip().partition(" ")
        if not key or key.startswith("#"):
            continue
        if rest.strip() and not rest.strip().startswith("#"):
            raise InvalidOptionError(
                f"--api-key-file {file}, line {number}: a line holds one key, without spaces."
            )
        keys.append(_checked(key, f"--api-key-file {file}, line {number}"))
    if not keys:
        raise InvalidOptionError(
            f"--api-key-file {file} holds no key.", hint="Write one key a line."
        )
    return keys


def _checked(key: str, place: str) -> str:
    if not _KEY.match(key):
        raise InvalidOptionError(f"{place}: keys are made of visible ASCII characters.")
    return key
