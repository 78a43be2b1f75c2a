"""A judged collection: passages, queries and what people said about them."""

from dataclasses import dataclass
from typing import TypeAlias

# query id -> passage id -> relevance; above 0 is relevant, unjudged passages are absent.
Qrels: TypeAlias = dict[str, dict[str, int]]


@dataclass(frozen=True, kw_only=True)
class Collection:
    """Passages with judged queries, read from one place.

    Attributes:
        name: What it is called in tables.
        passages: Passage id -> title and text in one string.
        queries: Query id -> text, only queries with at least one relevant passage.
        qrels: Judgements of exactly these queries.
        titles: Passage id -> title, empty where there is none; for showing results.
        num_dropped_queries: Queries left out because nothing is judged relevant to them.
        num_dangling_judgements: Judgements that name a query or a passage that is not there.
            Those of missing queries are left out; those of missing passages stay in `qrels`,
            because the ideal ranking counts them (as trec_eval does).
    """

    name: str
    passages: dict[str, str]
    queries: dict[str, str]
    qrels: Qrels
    titles: dict[str, str]
    num_dropped_queries: int
    num_dangling_judgements: int

    def first_queries(self, count: int) -> "Collection":
        """Returns the collection with its first `count` queries only, in file order."""
        kept = dict(list(self.queries.items())[:count])
        return Collection(
            name=self.name,
            passages=self.passages,
            queries=kept,
            qrels={query_id: self.qrels[query_id] for query_id in kept},
            titles=self.titles,
            num_dropped_queries=self.num_dropped_queries,
            num_dangling_judgements=self.num_dangling_judgements,
        )
