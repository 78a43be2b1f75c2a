"""What is ranked: two queries whose right answers the bundled model knows."""

from typing import NamedTuple


class Example(NamedTuple):
    """A query with documents.

    Attributes:
        query: The query.
        documents: Texts, all different.
        relevant: Indices of those that answer the query.
    """

    query: str
    documents: tuple[str, ...]
    relevant: frozenset[int]


CAPITAL = Example(
    "What is the capital of China?",
    (
        "Gravity is a force that attracts two bodies towards each other.",
        "The capital of China is Beijing.",
    ),
    frozenset({1}),
)
HONEY = Example(
    "how are honey bees able to make honey",
    (
        "Bees collect nectar from flowers and turn it into honey in their hives.",
        "Le Danube traverse dix pays; le café y coûte 3 €, dit-on \u2014 \U0001f950.",
        "Honey never spoils if it is kept in a closed jar.",
        'He said: "A bicycle\thas two wheels\nand a chain."',
        "The stock market fell sharply on Monday.",
    ),
    frozenset({0, 2}),
)
EXAMPLES = (CAPITAL, HONEY)
