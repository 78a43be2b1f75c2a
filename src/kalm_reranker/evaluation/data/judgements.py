"""From judgements, one after the other, to a judged collection with what had to be left out.

Whoever reads a collection (files, mteb, ir_datasets) gives its parts to `judged_collection`, so
that the same faults are counted, named and refused in the same words everywhere.
"""

from collections.abc import Callable, Iterable, Mapping
from typing import NamedTuple

from kalm_reranker.errors import DataFileError
from kalm_reranker.evaluation.data.collection import Collection, Pools, Qrels

_MAX_NAMED = 3  # faulty judgements or queries that a note names


class Judgement(NamedTuple):
    """One judgement: above 0 is relevant. `number` is its line, or its place in the source."""

    query_id: str
    passage_id: str
    relevance: int
    number: int


def judged_collection(
    judgements: Iterable[Judgement],
    *,
    name: str,
    passages: dict[str, str],
    titles: dict[str, str],
    queries: dict[str, str],
    source: str,
    place: Callable[[int], str] = "line {}".format,
    pools: Mapping[str, Iterable[str]] | None = None,
    excludes_own_id: bool = False,
    query_instructions: Mapping[str, str] | None = None,
    notes: Iterable[str] = (),
) -> Collection:
    """Returns the collection of those queries that have a relevant passage.

    Args:
        judgements: In any order.
        name: What to call the collection.
        passages: Passage id -> text.
        titles: Passage id -> title.
        queries: Query id -> text, of all queries there are.
        source: What messages call the judgements' source: a file, or a dataset's name.
        place: Names a judgement by its number.
        pools: Query id -> passages among which it is searched; queries without are searched in all.
        excludes_own_id: See `Collection`.
        query_instructions: Query id -> its own task instruction.
        notes: Sentences that come before those about left out judgements.

    Raises:
        DataFileError: There are no passages, no queries, two judgements of one pair that differ,
            no judgement of anything that exists, or an empty query among the judged ones.
    """
    if not passages:
        raise DataFileError(
            f"{name} has no passages.", hint="An empty corpus has nothing to be ranked."
        )
    if not queries:
        raise DataFileError(f"{name} has no queries.", hint="Nothing can be measured without.")
    qrels, lost_queries, lost_passages = _sorted_out(
        judgements, queries=queries, passages=passages, source=source, place=place
    )
    kept = {
        query_id: text
        for query_id, text in queries.items()
        if any(relevance > 0 for relevance in qrels.get(query_id, {}).values())
    }
    _refuse_nothing_left(kept, qrels, passages, (lost_queries, lost_passages), source=source)
    for query_id, text in kept.items():
        if not text.strip():
            raise DataFileError(
                f"{name}: query {query_id!r} has judgements but no text.",
                hint="Write its text, or remove its judgements.",
            )
    all_notes = [
        *notes,
        *lost_queries.note("a query that does not exist and is left out", source),
        *lost_passages.note(
            "a passage that is not in the corpus; it counts as one that no ranker finds", source
        ),
        *_dropped(queries, kept, qrels),
        *_hopeless(kept, qrels, passages),
    ]
    return Collection(
        name=name,
        passages=passages,
        queries=kept,
        qrels={query_id: qrels[query_id] for query_id in kept},
        titles=titles,
        num_dropped_queries=len(queries) - len(kept),
        num_dangling_judgements=lost_queries.count + lost_passages.count,
        pools=pools if pools is None else _pools(pools, kept, passages, excludes_own_id, all_notes),
        excludes_own_id=excludes_own_id,
        query_instructions={
            query_id: text
            for query_id, text in (query_instructions or {}).items()
            if query_id in kept and text.strip()
        },
        notes=tuple(all_notes),
    )


class _Lost:
    """Judgements of something that does not exist: how many, and the first ones."""

    def __init__(self, place: Callable[[int], str]) -> None:
        self.count = 0
        self._first: list[str] = []
        self._place = place

    def add(self, wanted: str, number: int) -> None:
        self.count += 1
        if len(self._first) < _MAX_NAMED:
            self._first.append(f"{wanted!r} on {self._place(number)}")

    def first(self, source: str) -> str:
        return f"first: {', '.join(self._first)} of {source}"

    def note(self, what: str, source: str) -> list[str]:
        if not self.count:
            return []
        subject = "1 judgement names" if self.count == 1 else f"{self.count:,} judgements each name"
        return [f"{subject} {what} ({self.first(source)})."]


def _sorted_out(
    judgements: Iterable[Judgement],
    *,
    queries: Mapping[str, str],
    passages: Mapping[str, str],
    source: str,
    place: Callable[[int], str],
) -> tuple[Qrels, _Lost, _Lost]:
    qrels: Qrels = {}
    lost_queries, lost_passages = _Lost(place), _Lost(place)
    for query_id, passage_id, relevance, number in judgements:
        if query_id not in queries:
            lost_queries.add(query_id, number)
            continue
        if passage_id not in passages:
            lost_passages.add(passage_id, number)
        judged = qrels.setdefault(query_id, {})
        if judged.setdefault(passage_id, relevance) != relevance:
            raise DataFileError(
                f"{source}, {place(number)}: expected one judgement for query {query_id!r} and "
                f"passage {passage_id!r}; got {relevance} after {judged[passage_id]}.",
                hint="Keep the judgement that is right.",
            )
    return qrels, lost_queries, lost_passages


def _refuse_nothing_left(
    kept: Mapping[str, str],
    qrels: Qrels,
    passages: Mapping[str, str],
    lost: tuple[_Lost, _Lost],
    *,
    source: str,
) -> None:
    """Refuses judgements by which every ranker would get zero, or nothing be measured."""
    if any(_findable(qrels[query_id], passages) for query_id in kept):
        return
    lost_queries, lost_passages = lost
    if lost_passages.count:
        raise DataFileError(
            f"{source}: expected passages of the corpus; of all passages judged relevant none is "
            f"in it ({lost_passages.first(source)}).",
            hint="Check that corpus and judgements belong together and write ids alike.",
        )
    if lost_queries.count and not qrels:
        raise DataFileError(
            f"{source}: expected queries of the collection; none of the {lost_queries.count:,} "
            f"judgements names one ({lost_queries.first(source)}).",
            hint="Check that queries and judgements belong together and write ids alike.",
        )
    if qrels:
        raise DataFileError(
            f"{source}: expected judgements above 0; no passage is judged relevant to a query.",
            hint="Relevance 0 means judged and not relevant.",
        )
    raise DataFileError(
        f"{source}: expected judgements; it has none.", hint="Nothing can be measured without."
    )


def _findable(judged: Mapping[str, int], passages: Mapping[str, str]) -> bool:
    return any(relevance > 0 and passage_id in passages for passage_id, relevance in judged.items())


def _dropped(queries: Mapping[str, str], kept: Mapping[str, str], qrels: Qrels) -> list[str]:
    dropped = [query_id for query_id in queries if query_id not in kept]
    if not dropped:
        return []
    unjudged = [query_id for query_id in dropped if query_id not in qrels]
    of_which = f", {len(unjudged):,} of them without any judgement" if unjudged else ""
    return [
        f"{len(dropped):,} of {len(queries):,} queries have no relevant passage{of_which}, "
        f"and are left out ({_first(dropped)})."
    ]


def _hopeless(kept: Mapping[str, str], qrels: Qrels, passages: Mapping[str, str]) -> list[str]:
    hopeless = [query_id for query_id in kept if not _findable(qrels[query_id], passages)]
    if not hopeless:
        return []
    return [
        f"On {len(hopeless):,} of {len(kept):,} queries every ranker gets 0, since no relevant "
        f"passage of theirs is in the corpus ({_first(hopeless)})."
    ]


def _pools(
    given: Mapping[str, Iterable[str]],
    kept: Mapping[str, str],
    passages: Mapping[str, str],
    excludes_own_id: bool,
    notes: list[str],
) -> Pools:
    """Returns a pool for each query; adds notes about those that are missing or hold strangers."""
    without = [query_id for query_id in kept if query_id not in given]
    everything = tuple(passages) if without else ()
    pools, strangers = {}, 0
    for query_id in kept:
        pool = everything
        if query_id in given:
            listed = dict.fromkeys(given[query_id])
            pool = tuple(passage_id for passage_id in listed if passage_id in passages)
            strangers += len(listed) - len(pool)
        if excludes_own_id and query_id in pool:
            pool = tuple(passage_id for passage_id in pool if passage_id != query_id)
        pools[query_id] = pool
    if without:
        notes.append(
            f"{len(without):,} of {len(kept):,} queries have no list of candidates and are "
            f"searched in all passages ({_first(without)})."
        )
    if strangers:
        notes.append(
            f"Listed candidates that are not in the corpus, and are left out: {strangers:,}."
        )
    empty = [query_id for query_id, pool in pools.items() if not pool]
    if empty:
        notes.append(
            f"On {len(empty):,} of {len(kept):,} queries every ranker gets 0, since none of their "
            f"listed candidates is in the corpus ({_first(empty)})."
        )
    return pools


def _first(ids: list[str]) -> str:
    return f"first: {', '.join(repr(one) for one in ids[:_MAX_NAMED])}"
