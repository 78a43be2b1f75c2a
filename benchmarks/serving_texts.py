"""What the clients of the load test ask: pieces of the demo's abstracts, nearly all distinct."""

import random
from typing import Any

from serving_client import Request, post

from kalm_reranker.evaluation.data.bundled import load_demo_collection

INSTRUCTIONS = (
    "Given a claim, find documents that refute it.",
    "Find abstracts about the same disease.",
)
RATIOS = (4, 8)
# Documents, words of each, share of the requests; the last are longer than pico reads.
MIXTURE = (
    (5, (15, 30), 0.60),
    (20, (40, 120), 0.25),
    (40, (100, 250), 0.10),
    (3, (450, 700), 0.05),
)


class Texts:
    """Draws queries and documents; the same seed draws the same.

    Args:
        seed: Of the draws.
    """

    def __init__(self, seed: int) -> None:
        collection = load_demo_collection()
        self._random = random.Random(seed)
        self._claims = list(collection.queries.values())
        self._words = " ".join(collection.passages.values()).split()
        self._seen: list[str] = []

    def query(self) -> str:
        """Returns a claim."""
        return self._random.choice(self._claims)

    def document(self, words: tuple[int, int]) -> str:
        """Returns consecutive words of an abstract, so many as are drawn from a range."""
        count = self._random.randint(*words)
        start = self._random.randrange(len(self._words) - count)
        return " ".join(self._words[start : start + count])

    def documents(self, count: int, words: tuple[int, int]) -> list[str]:
        """Returns several."""
        return [self.document(words) for _ in range(count)]

    def small(self) -> Request:
        """Returns a request with five short documents."""
        return self.rerank(5, (15, 30))

    def large(self) -> Request:
        """Returns a request with 500 documents of 200 words."""
        return self.rerank(500, (200, 200))

    def rerank(self, count: int, words: tuple[int, int]) -> Request:
        """Returns a request for a ranking of so many documents."""
        return post(
            "/v1/rerank", {"query": self.query(), "documents": self.documents(count, words)}
        )

    def mixed(self) -> Request:
        """Returns a request of any size and shape.

        Some have an instruction or a ratio of their own, some contain documents of earlier
        requests or one twice, some are pairs with several queries.
        """
        count, words, _ = self._random.choices(MIXTURE, [share for *_, share in MIXTURE])[0]
        documents = self.documents(count, words)
        if self._seen and self._random.random() < 0.3:
            documents[: count // 2] = self._random.sample(
                self._seen, min(count // 2, len(self._seen))
            )
        if self._random.random() < 0.1:
            documents.append(documents[0])
        self._seen = [*self._seen, *documents[:2]][-200:]
        payload: dict[str, Any] = {"return_margin": True}
        if self._random.random() < 0.3:
            payload["instruction"] = self._random.choice(INSTRUCTIONS)
        if self._random.random() < 0.2:
            payload["compression_ratio"] = self._random.choice(RATIOS)
        if self._random.random() < 0.15:
            queries = [self.query() for _ in range(3)]
            payload["pairs"] = [
                {"query": queries[index % 3], "document": document}
                for index, document in enumerate(documents)
            ]
            return post("/v1/score", payload)
        return post("/v1/rerank", {"query": self.query(), "documents": documents, **payload})
