from hypothesis import given
from hypothesis import strategies as st

from kalm_reranker.encoding.batching import plan_batches

shapes = st.integers(1, 3).flatmap(
    lambda kinds: st.lists(st.tuples(*[st.integers(1, 200)] * kinds), max_size=60)
)


def cost(batch, lengths) -> int:
    return len(batch) * sum(max(sizes) for sizes in zip(*(lengths[i] for i in batch), strict=True))


@given(shapes, st.integers(1, 16), st.integers(1, 1000))
def test_every_item_is_in_exactly_one_batch(lengths, max_items, budget):
    plan = plan_batches(lengths, max_items=max_items, token_budget=budget)
    assert sorted(index for batch in plan for index in batch) == list(range(len(lengths)))
    assert all(batch for batch in plan)


@given(shapes, st.integers(1, 16), st.integers(1, 1000))
def test_batches_keep_both_limits(lengths, max_items, budget):
    for batch in plan_batches(lengths, max_items=max_items, token_budget=budget):
        assert len(batch) <= max_items
        assert len(batch) == 1 or cost(batch, lengths) <= budget


@given(shapes, st.integers(1, 16))
def test_a_large_budget_fills_batches_by_count(lengths, max_items):
    plan = plan_batches(lengths, max_items=max_items, token_budget=10**9)
    assert len(plan) == -(-len(lengths) // max_items)


@given(st.lists(st.tuples(st.integers(1, 50)), max_size=40))
def test_the_longest_come_first(lengths):
    plan = plan_batches(lengths, max_items=4, token_budget=200)
    order = [lengths[index] for batch in plan for index in batch]
    assert order == sorted(lengths, reverse=True)
