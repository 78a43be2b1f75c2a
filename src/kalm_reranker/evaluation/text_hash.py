"""A hash of many texts: other texts, or the same ones parted in another way, give another hash."""

import hashlib


class TextHash:
    """SHA-256 over texts and counts, in the order in which they are added."""

    def __init__(self) -> None:
        self._digest = hashlib.sha256()

    def add(self, text: str) -> None:
        """Adds a text, with its length before it."""
        raw = text.encode("utf-8", "surrogatepass")
        self.add_count(len(raw))
        self._digest.update(raw)

    def add_count(self, count: int) -> None:
        """Adds how many texts follow."""
        self._digest.update(b"%d\n" % count)

    def hexdigest(self) -> str:
        """Returns the hash of what was added so far."""
        return self._digest.hexdigest()
