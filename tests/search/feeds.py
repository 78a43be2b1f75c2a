"""A store as first stages see it, in memory."""

import uuid
from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class TextChange:
    key: int
    text: str | None
    change: int


@dataclass(frozen=True)
class VectorChange:
    key: int
    vector: bytes | None
    change: int


class DictFeed:
    """Passages by key; every put or delete gets the next change number."""

    def __init__(self, texts=None, *, store_id=None):
        self.store_id = store_id or uuid.uuid4().hex
        self._last = 0
        self._changes = {}  # key -> (change, text), by ascending change
        for key, text in (texts or {}).items():
            self.put(key, text)

    def put(self, key, text):
        self._last += 1
        self._changes.pop(key, None)
        self._changes[key] = (self._last, text)

    def delete(self, key):
        self.put(key, None)

    def live(self):
        return {key: text for key, (_, text) in self._changes.items() if text is not None}

    def last_change(self):
        return self._last

    def num_passages(self):
        return len(self.live())

    def changes_since(self, change):
        for key, (number, text) in list(self._changes.items()):
            if number > change and not (change == 0 and text is None):
                yield TextChange(key, text, number)

    def sample_texts(self, count):
        texts = list(self.live().values())
        return texts[:: -(-len(texts) // count)] if texts else []


class VectorDictFeed(DictFeed):
    """Passages whose vectors are set by hand: `put` takes an array."""

    def vectors_since(self, change):
        for item in self.changes_since(change):
            vector = None if item.text is None else np.asarray(item.text, "<f4").tobytes()
            yield VectorChange(item.key, vector, item.change)
