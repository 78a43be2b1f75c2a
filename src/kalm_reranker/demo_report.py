"""What the demo found out; plain data."""

from dataclasses import asdict, dataclass
from typing import Any

BM25, RERANKER, BLEND = "bm25", "reranker", "blend"
RANKERS = (BM25, RERANKER, BLEND)


@dataclass(frozen=True, kw_only=True)
class DemoTimes:
    """Where the time went, in seconds of wall clock.

    Attributes:
        load_model_s: Importing PyTorch, if nobody did before, and loading the weights.
        encode_s: Encoding passages into the index: the part that is done once.
        store_s: Writing them.
        first_stage_s: Building BM25.
        first_query_s: The first query after opening the index.
        second_query_s: The same query again.
        other_query_s: Median of the other queries, each asked once.
        without_index_s: The first query again, with its candidates encoded as rerankers do.
    """

    load_model_s: float
    encode_s: float
    store_s: float
    first_stage_s: float
    first_query_s: float
    second_query_s: float
    other_query_s: float
    without_index_s: float


@dataclass(frozen=True, kw_only=True)
class DemoResult:
    """One line of a ranked list."""

    passage_id: str
    title: str
    relevant: bool


@dataclass(frozen=True, kw_only=True)
class DemoExample:
    """One query and the top of the three lists.

    Attributes:
        reason: Why this query is shown.
        query: Its text.
        num_relevant: How many passages are judged relevant to it.
        ndcg: Ranker -> nDCG@10 of this query.
        top: Ranker -> its first results.
    """

    reason: str
    query: str
    num_relevant: int
    ndcg: dict[str, float]
    top: dict[str, tuple[DemoResult, ...]]


@dataclass(frozen=True, kw_only=True)
class DemoReport:
    """Everything the demo found out; plain data.

    Attributes:
        collection: Name of the collection.
        model: Name of the model, with its `device` and `dtype`.
        compression_ratio: Tokens per stored state.
        max_length: Tokens a passage is cut at.
        num_passages: Passages in the collection.
        num_queries: Queries.
        top_k: Candidates that BM25 hands to the reranker for each query, at most.
        num_pairs: Scored (query, passage) pairs.
        num_encoded: Passages encoded; fewer than all where an index was kept from before.
        num_truncated: Passages in the index that are cut at `max_length`.
        num_queries_truncated: Queries cut at the model's limit.
        index_bytes: Size of the store's file.
        codec: How states are written in it.
        ndcg_at_10: Ranker -> mean nDCG@10 over the queries.
        times: Where the time went.
        examples: Queries with their lists.
    """

    collection: str
    model: str
    device: str
    dtype: str
    compression_ratio: int
    max_length: int
    num_passages: int
    num_queries: int
    top_k: int
    num_pairs: int
    num_encoded: int
    num_truncated: int
    num_queries_truncated: int
    index_bytes: int
    codec: str
    ndcg_at_10: dict[str, float]
    times: DemoTimes
    examples: tuple[DemoExample, ...]

    def as_dict(self) -> dict[str, Any]:
        """Returns nested dictionaries and lists that `json.dumps` takes."""
        return asdict(self)
