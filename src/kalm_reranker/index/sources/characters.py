"""What no text file holds: NUL characters, bytes that are no UTF-8; and names that hold some."""

from kalm_reranker.errors import DataFileError

_FIRST_ESCAPED = 0xDC00  # `surrogateescape` decodes byte 0xff as U+DCFF


def refuse_nul(text: str, where: str) -> str:
    """Returns a text as it stands in a file, if it is one.

    A NUL in a file means UTF-16, or no text at all. The escape that JSON writes for one is no NUL
    in the file, and allowed.

    Raises:
        DataFileError: It holds a NUL.
    """
    if "\0" in text:
        raise DataFileError(
            f"{where}: expected text; got a NUL at character {text.index(chr(0)) + 1}.",
            hint="Convert the file to UTF-8 if it is UTF-16; leave it out if it is no text.",
        )
    return text


def refuse_escaped_bytes(text: str, where: str) -> str:
    """Returns a text that was decoded with `surrogateescape`, if it was UTF-8.

    Raises:
        DataFileError: It was not.
    """
    if not text.isascii():
        try:
            text.encode("utf-8")
        except UnicodeEncodeError as error:
            byte = ord(text[error.start]) - _FIRST_ESCAPED
            raise DataFileError(
                f"{where}: expected UTF-8 text; byte {byte:#04x} after "
                f"{error.start} characters is not.",
                hint="Convert the file to UTF-8.",
            ) from None
    return text


def printable(path: str) -> str:
    """Returns the name of a file as messages show it; it may hold bytes that no terminal takes."""
    return path.encode("utf-8", "backslashreplace").decode("utf-8")
