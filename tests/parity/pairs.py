"""Pairs of many lengths: shorter than a slot, longer than every window, and between."""

import random

QUERIES = [
    "What is the capital of China?",
    "gravity",
    "Warum ist der Himmel blau, und warum wird er am Abend rot?",
    "how does a reranker that reads every passage only once, and then keeps what it read in a "
    "compressed form, still see the words of the passage when a new query comes along",
]
WORDS = (
    "the capital of China is Beijing and gravity attracts bodies toward one another while light "
    "that travels through air is scattered more the shorter its wave is so that a clear sky "
    "looks blue by day 天空 是 蓝色 的 क्या है 12 345 reranker passage query state slot ."
).split()


def documents(count: int, *, longest: int = 100, seed: int = 0) -> list[str]:
    """Texts of 0 to `longest` words, the first ones empty and very short."""
    rng = random.Random(seed)
    lengths = [0, 1, 2, longest] + [rng.randint(1, longest) for _ in range(count)]
    return [" ".join(rng.choices(WORDS, k=length)) for length in lengths[:count]]


def pairs(count: int, *, longest: int = 100, seed: int = 0) -> list[tuple[str, str]]:
    """`count` pairs over all queries, each with different documents."""
    texts = documents(count, longest=longest, seed=seed)
    return [(QUERIES[i % len(QUERIES)], text) for i, text in enumerate(texts)]
