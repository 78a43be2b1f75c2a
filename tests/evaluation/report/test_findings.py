from dataclasses import replace

from kalm_reranker.evaluation.report.findings import best_counts, findings, verdicts
from kalm_reranker.evaluation.report.summary import summarize
from kalm_reranker.evaluation.report.wording import (
    bytes_text,
    difference_text,
    in_order,
    measure_title,
    ms_text,
    p_text,
    shorten,
)
from kalm_reranker.evaluation.results import Measurement
from tests.evaluation.report.evaluations import evaluation, first_stage, kalm, without


def with_quality(found, values):
    """The same with the nDCG given for each set, by ranker, and nothing else measured."""
    measurements = tuple(
        Measurement(dataset=name, ranker=ranker, measures={"nDCG@10": value}, seconds={})
        for ranker, row in values.items()
        for name, value in row.items()
    )
    return replace(found, measurements=measurements, comparisons=(), costs=())


def test_sentences_say_what_the_numbers_say():
    found = evaluation([first_stage(), kalm("a", 2), kalm("a", 8)], {"x": 0.5, "y": 0.5})
    found = with_quality(
        found,
        {
            "BM25": {"x": 0.5, "y": 0.3},
            "a r=2": {"x": 0.4, "y": 0.8},
            "a r=8": {"x": 0.2, "y": 0.4},
        },
    )
    assert best_counts(found, "nDCG@10") == {"BM25": 1, "a r=2": 1, "a r=8": 0}
    assert findings(found, summarize(found)) == [
        "a r=2 has the highest mean nDCG@10 over 2 sets, 0.6000 (+0.2000 against BM25), "
        "and is the best on 1 of them.",
        "a: from 2 to 8 tokens per slot it keeps 50% of its nDCG@10.",
    ]


def test_the_highest_mean_need_not_be_the_best_on_most_sets():
    found = evaluation([first_stage(), kalm("a", 2)], {"x": 0.5, "y": 0.5, "z": 0.5})
    values = {
        "BM25": {"x": 0.50, "y": 0.50, "z": 0.1},
        "a r=2": {"x": 0.49, "y": 0.49, "z": 0.9},
    }
    found = with_quality(found, values)
    (sentence,) = findings(found, summarize(found))
    assert sentence.endswith("and is the best on 1 of them; BM25 is the best on 2.")


def test_significance_counts_sets():
    found = evaluation([first_stage(), kalm("a", 2)], {"x": 0.5, "y": 0.5, "z": 0.5, "w": 0.5})
    found = with_quality(
        found,
        {"BM25": dict.fromkeys("xyzw", 0.4), "a r=2": dict.fromkeys("xyzw", 0.5)},
    )
    base = evaluation([first_stage(), kalm("a", 2)], {"x": 0.5}).comparisons[0]
    told = [("x", 0.1, 0.01), ("y", -0.1, 0.01), ("z", 0.1, 0.2), ("w", 0.3, 0.049)]
    comparisons = tuple(
        replace(base, dataset=name, difference=difference, p_value=p)
        for name, difference, p in told
    )
    assert verdicts(comparisons) == (2, 1, 1)
    found = replace(found, comparisons=comparisons)
    assert findings(found, summarize(found))[1] == (
        "Against BM25 it is significantly better on 2 sets and significantly worse on 1 set; "
        "on 1 the difference could be chance (p < 0.05, paired bootstrap, 10,000 samples)."
    )


def test_a_single_set_tells_its_own_p_value():
    found = evaluation([first_stage(), kalm("a", 2)], {"x": 0.5}, costs=False)
    found = with_quality(found, {"BM25": {"x": 0.4}, "a r=2": {"x": 0.5}})
    base = evaluation([first_stage(), kalm("a", 2)], {"x": 0.5}).comparisons[0]
    for p, words in ((0.0996, "could be chance: p 0.100"), (0.01, "is significant: p 0.010")):
        told = replace(found, comparisons=(replace(base, p_value=p, difference=0.1),))
        assert findings(told, summarize(told)) == [
            "a r=2 has the highest nDCG@10, 0.5000 (+0.1000 against BM25).",
            f"Its difference to BM25 {words}, paired bootstrap, 10,000 samples.",
        ]


def test_costs_say_what_stored_states_save(full):
    sentence = findings(full, summarize(full))[-1]
    assert sentence == (
        "With cached prefixes pico takes 133 ms a query at 32 tokens per slot: 68.4 times faster "
        "than encoding the passages for each query."
    )


def test_rankers_without_a_mean_are_named(full):
    found = without(without(full, "cisi", "pico r=2"), "cisi", "pico r=4")
    sentence = findings(found, summarize(found))[-1]
    assert sentence == "pico r=2 and pico r=4 have no means: they were not run on every set."


def test_nothing_is_said_without_numbers(full):
    empty = with_quality(replace(full, rankers=(), datasets=()), {})
    assert findings(empty, summarize(empty)) == []


def test_numbers_read_well():
    assert [bytes_text(value) for value in (12.0, 999.4, 999.6, 97_280.0, 1.5e6, 2e9)] == [
        *("12.0 B", "999 B", "1.00 kB", "97.3 kB", "1.50 MB", "2.00 GB")
    ]
    assert [ms_text(value) for value in (0.0123, 1.234, 12.34, 338.2, 5400.0)] == [
        *("0.0123 ms", "1.23 ms", "12.3 ms", "338 ms", "5,400 ms")
    ]
    assert difference_text(-0.01234) == "−0.0123"  # noqa: RUF001
    assert difference_text(-0.00001) == "0.0000"
    assert (p_text(0.0004), p_text(0.0123)) == ("< 0.001", "0.012")
    assert measure_title("AP") == "MAP"
    assert in_order(["P@5", "ROC-AUC", "AP", "nDCG@10"]) == ["nDCG@10", "AP", "ROC-AUC", "P@5"]
    assert shorten("sentence-transformers/all-MiniLM-L6-v2", 20) == "sentence-t…iLM-L6-v2"
    assert shorten("short", 20) == "short"
