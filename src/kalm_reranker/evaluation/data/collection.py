"""A judged collection: passages, queries and what people said about them."""

from dataclasses import dataclass, field, replace
from typing import TypeAlias

# query id -> passage id -> relevance; above 0 is relevant, unjudged passages are absent.
Qrels: TypeAlias = dict[str, dict[str, int]]

# query id -> ids of the passages that may be ranked for it, in the source's order.
Pools: TypeAlias = dict[str, tuple[str, ...]]


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
        pools: For exactly these queries, the passages among which theirs are searched; None where
            every query is searched in all passages. A memory benchmark asks about one person's
            conversation, a reranking task brings its candidates: a first stage that looks outside
            the pool answers another question.
        excludes_own_id: A passage with the query's id is no candidate of that query. So it is where
            the query itself is one of the passages (ArguAna), and where mteb evaluates so. Pools
            hold no such passage.
        query_instructions: Query id -> its own task instruction, where the source has such; other
            queries take the dataset's.
        notes: What a reader of the numbers has to know, a sentence each: what was left out, where
            the first such line stands, which copy was read.
    """

    name: str
    passages: dict[str, str]
    queries: dict[str, str]
    qrels: Qrels
    titles: dict[str, str]
    num_dropped_queries: int
    num_dangling_judgements: int
    pools: Pools | None = None
    excludes_own_id: bool = False
    query_instructions: dict[str, str] = field(default_factory=dict)
    notes: tuple[str, ...] = ()

    def first_queries(self, count: int) -> "Collection":
        """Returns the collection with its first `count` queries only, in file order.

        Notes stay, and count the whole collection; a last one says so.
        """
        if count >= len(self.queries):
            return self
        kept = dict(list(self.queries.items())[:count])
        note = f"Only the first {count:,} of {len(self.queries):,} queries are used."
        return replace(
            self,
            notes=(*self.notes, note),
            queries=kept,
            qrels={query_id: self.qrels[query_id] for query_id in kept},
            pools=None if self.pools is None else {key: self.pools[key] for key in kept},
            query_instructions={
                query_id: text
                for query_id, text in self.query_instructions.items()
                if query_id in kept
            },
        )
