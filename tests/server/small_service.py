"""A service over a tiny model and a small index, and the same model alone to compare with."""

from contextlib import contextmanager
from functools import cached_property

from kalm_reranker import KaLMReranker
from kalm_reranker.index.passage_index import PassageIndex
from kalm_reranker.server.service import Service
from kalm_reranker.server.settings import Limits
from tests.parity.random_checkpoints import TINY, build_checkpoint

STORED = {
    "beijing": "Beijing is the capital of China.",
    "paris": "The capital of France is Paris, on the Seine.",
    "bread": "Bread needs flour, water, salt and time. " * 3,
    "long": "The capital of the long river is far away. " * 40,
    "empty": "",
}
QUERY = "What is the capital of China?"


class Small:
    """What tests of the service need.

    Args:
        folder: An empty folder.
        options: Of the model.
    """

    def __init__(self, folder, **options):
        self.checkpoint = folder / "tiny"
        if not self.checkpoint.exists():
            build_checkpoint(self.checkpoint, **TINY)
        self.options = {"dtype": "float32", "max_length": 96, **options}
        self.alone = self.load()

    @cached_property
    def served(self):
        """The model of one service after the other."""
        return self.load()

    def load(self, **options):
        return KaLMReranker(self.checkpoint, **{**self.options, **options})

    def index(self, folder, stored=STORED):
        """An open index with some passages."""
        with PassageIndex.create(folder, self.alone) as index:
            index.add(list(stored.items()))
        return PassageIndex.open(folder, self.served)

    @contextmanager
    def service(self, index=None, listener=None, reranker=None, **limits):
        """A service, closed at the end."""
        reranker = reranker or (self.served if index is None else index.reranker)
        made = Service(
            reranker, Limits(**{"target_step_s": 0.01, **limits}), index=index, listener=listener
        )
        try:
            yield made
        finally:
            made.close()
