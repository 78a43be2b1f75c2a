"""Fitting a calibration, choosing thresholds, and reading labelled pairs."""

import gzip
import json

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from kalm_reranker import KaLMReranker
from kalm_reranker.errors import (
    CalibrationFitError,
    DataFileError,
    InputError,
    InvalidOptionError,
)
from kalm_reranker.evaluation.calibration.calibrating import (
    NUM_FOLDS,
    LabelledMargin,
    _folds,
    calibrate,
)
from kalm_reranker.evaluation.calibration.fitting import fit
from kalm_reranker.evaluation.calibration.labelled_pairs import read_labelled, score_labelled
from kalm_reranker.evaluation.calibration.reliability import quality
from kalm_reranker.evaluation.calibration.thresholds import wilson_low
from kalm_reranker.evaluation.data.bundled import load_demo_collection


def drawn(count, slope, intercept, *, seed=0, per_query=20):
    """Margins with labels that follow a logistic curve."""
    random = np.random.default_rng(seed)
    margins = random.normal(-2, 3, count)
    labels = random.random(count) < 1 / (1 + np.exp(-(slope * margins + intercept)))
    return [
        LabelledMargin(str(number // per_query), float(margin), bool(label))
        for number, (margin, label) in enumerate(zip(margins, labels, strict=True))
    ]


def arrays(pairs):
    return np.array([p.margin for p in pairs]), np.array([p.relevant for p in pairs])


def smoothed(labels):
    positives = labels.sum()
    return np.where(labels, (positives + 1) / (positives + 2), 1 / (len(labels) - positives + 2))


@pytest.mark.parametrize(("slope", "intercept"), [(1.0, 0.0), (0.4, -1.5), (2.5, 1.0)])
def test_a_known_curve_is_found_again(slope, intercept):
    found = calibrate(drawn(60_000, slope, intercept)).calibration
    assert found.slope == pytest.approx(slope, rel=0.04)
    assert found.intercept == pytest.approx(intercept, abs=0.06)
    assert found.held_out.ece < 0.01
    assert found.held_out.log_loss == pytest.approx(found.fitted.log_loss, abs=1e-3)
    assert found.fitted.log_loss <= found.raw.log_loss


def test_a_known_temperature_is_found_again():
    found = calibrate(drawn(60_000, 0.5, 0.0), method="temperature").calibration
    assert (found.intercept, found.slope) == (0.0, pytest.approx(0.5, rel=0.03))


@pytest.mark.parametrize("scale", [1.0, 1e-4, 1e5])
@pytest.mark.parametrize(("method", "shift"), [("platt", 0.0), ("platt", 30), ("temperature", 0.0)])
def test_the_fit_agrees_with_scikit_learn(method, scale, shift):
    linear_model = pytest.importorskip("sklearn.linear_model")
    margins, labels = arrays(drawn(3_000, 0.7, -1.0, seed=3))
    margins = (margins + shift) * scale
    slope, intercept = fit(margins, labels, method)
    # A soft target is both labels, each with its share of the weight; and what it is given is of
    # order one, since its own stopping rule depends on the unit.
    unit = margins.std()
    targets = smoothed(labels)
    oracle = linear_model.LogisticRegression(
        C=np.inf,
        tol=1e-12,
        max_iter=1000,
        fit_intercept=method == "platt",
        solver="newton-cholesky",
    ).fit(
        np.concatenate([margins, margins])[:, None] / unit,
        np.repeat([1, 0], len(margins)),
        sample_weight=np.concatenate([targets, 1 - targets]),
    )
    assert slope * unit == pytest.approx(oracle.coef_[0, 0], rel=1e-6)
    wanted = oracle.intercept_[0] if method == "platt" else 0.0
    assert intercept == pytest.approx(wanted, rel=1e-6, abs=1e-9)


@pytest.mark.parametrize("method", ["platt", "temperature"])
def test_margins_that_divide_both_kinds_give_a_finite_slope(method):
    pairs = [LabelledMargin(str(i % 7), float(i - 50), i >= 50) for i in range(100)]
    found = calibrate(pairs, method=method, precisions=[1.0]).calibration
    assert 0 < found.slope < 100
    assert found.thresholds[0].precision == found.thresholds[0].recall == 1.0


@given(st.lists(st.tuples(st.integers(-5, 5), st.booleans()), min_size=20, max_size=60))
def test_thresholds_are_the_lowest_that_hold(rows):
    pairs = [LabelledMargin(str(i % 6), float(m), label) for i, (m, label) in enumerate(rows)]
    margins, labels = arrays(pairs)
    try:
        report = calibrate(pairs, precisions=[0.5, 0.8, 1.0])
    except CalibrationFitError:
        return
    for one in report.calibration.thresholds:
        by_margin = {m: labels[margins >= m].mean() for m in set(margins)}
        enough = [m for m, precision in by_margin.items() if precision >= one.wanted_precision]
        taken = margins >= one.margin
        assert one.precision == by_margin[one.margin]
        assert one.recall == labels[taken].sum() / labels.sum()
        assert one.num_taken == taken.sum()
        assert one.score == report.calibration.score(one.margin)
        assert one.reached == bool(enough)
        if enough:
            assert one.margin == min(enough)
        else:
            assert one.precision == max(by_margin.values())


def test_an_unreachable_precision_says_the_best_there_is():
    # The best pair of all is not relevant.
    pairs = [LabelledMargin(str(i), i / 10, i >= 20) for i in range(40)]
    pairs.append(LabelledMargin("last", 9.0, False))
    (one,) = calibrate(pairs, precisions=[0.99]).calibration.thresholds
    assert not one.reached
    assert (one.precision, one.recall, one.margin) == (20 / 21, 1.0, 2.0)


@given(st.integers(1, 500).flatmap(lambda n: st.tuples(st.integers(0, n), st.just(n))))
def test_intervals_agree_with_scipy(counts):
    stats = pytest.importorskip("scipy.stats")
    low = stats.binomtest(*counts).proportion_ci(method="wilson").low
    assert wilson_low(*counts) == pytest.approx(low, abs=1e-6)


def test_quality_by_hand():
    probabilities = np.array([0.05, 0.05, 0.95, 0.95])
    found = quality(probabilities, np.array([False, True, True, True]))
    assert found.log_loss == pytest.approx(-(3 * np.log(0.95) + np.log(0.05)) / 4)
    assert found.brier == pytest.approx((3 * 0.05**2 + 0.95**2) / 4)
    assert found.ece == pytest.approx((2 * abs(0.05 - 0.5) + 2 * abs(0.95 - 1)) / 4)
    assert np.isfinite(quality(np.array([0.0, 1.0]), np.array([True, False])).log_loss)


@given(st.lists(st.integers(0, 30), min_size=1, max_size=100), st.integers(0, 5))
def test_a_query_is_never_on_both_sides(queries, seed):
    folds = _folds([str(query) for query in queries], seed)
    fold_of = dict(zip(queries, folds, strict=True))
    assert [fold_of[query] for query in queries] == list(folds)
    sizes = np.bincount(list(fold_of.values()), minlength=NUM_FOLDS)
    assert sizes.max() - sizes.min() <= 1


def test_held_out_scores_know_nothing_of_their_query():
    # Relevance depends on the query alone, and so do margins: with pairs of one query on both
    # sides, held-out scores would be as good as the fitted ones.
    random = np.random.default_rng(5)
    pairs = []
    for query in range(20):
        relevant = bool(query % 2)
        pairs += [LabelledMargin(f"q{query}", random.normal(relevant, 1), relevant)] * 30
    report = calibrate(pairs)
    found = report.calibration
    assert report.num_folds == NUM_FOLDS
    assert found.held_out.log_loss > 1.05 * found.fitted.log_loss
    mixed = [LabelledMargin(str(i), p.margin, p.relevant) for i, p in enumerate(pairs)]
    assert calibrate(mixed).calibration.held_out.log_loss < 1.01 * found.fitted.log_loss


def test_one_query_leaves_nothing_to_hold_out():
    pairs = [LabelledMargin("q", p.margin, p.relevant) for p in drawn(100, 1.0, 0.0)]
    report = calibrate(pairs)
    assert report.calibration.held_out is None
    assert report.calibration.thresholds[0].held_out_precision is None
    assert any("nothing was held out" in note for note in report.notes)


@pytest.mark.parametrize(
    ("pairs", "error", "message"),
    [
        ([], CalibrationFitError, "at least 20 labelled pairs; got 0"),
        (drawn(19, 1, 0), CalibrationFitError, "at least 20 labelled pairs; got 19"),
        (
            [LabelledMargin("q", float(i), True) for i in range(30)],
            CalibrationFitError,
            "all 30 are relevant",
        ),
        (
            [LabelledMargin("q", float(i), False) for i in range(30)],
            CalibrationFitError,
            "all 30 are irrelevant",
        ),
        (
            [LabelledMargin("q", 1.5, i < 9) for i in range(30)],
            CalibrationFitError,
            "All 30 margins are",
        ),
        (
            [LabelledMargin("q", float(i), i < 9) for i in range(30)],
            CalibrationFitError,
            "do not rise with relevance",
        ),
        (
            [*drawn(30, 1, 0), LabelledMargin("q", float("nan"), True)],
            InputError,
            r"pairs\[30\]: the margin must be finite; got nan",
        ),
        (
            [*drawn(30, 1, 0), LabelledMargin("q", float("inf"), True)],
            InputError,
            "must be finite; got inf",
        ),
    ],
)
def test_pairs_that_nothing_can_be_fitted_to(pairs, error, message):
    with pytest.raises(error, match=message):
        calibrate(pairs)


@pytest.mark.parametrize("precision", [0.0, -1.0, 1.1, float("nan")])
def test_precisions_that_are_none(precision):
    with pytest.raises(InvalidOptionError, match="above 0 and at most 1"):
        calibrate(drawn(100, 1, 0), precisions=[precision])


def test_few_of_a_kind_are_said():
    notes = calibrate(drawn(60, 1.0, -3.0, seed=1)).notes
    assert any("relevant pairs: probabilities and thresholds are rough" in note for note in notes)


LINES = [
    {"query": "q1", "passage": "a", "label": 1},
    {"query": "q1", "document": "b", "label": False},
    {"query": "q2", "text": "", "label": "0", "query_id": 7, "instruction": "Find."},
]


def test_json_lines_of_texts(tmp_path):
    path = tmp_path / "pairs.jsonl.gz"
    path.write_bytes(gzip.compress("\n".join(map(json.dumps, LINES)).encode()))
    found = read_labelled(path).pairs
    assert [(p.group, p.query, p.passage, p.relevant, p.instruction) for p in found] == [
        ("q1", "q1", "a", True, None),
        ("q1", "q1", "b", False, None),
        ("7", "q2", "", False, "Find."),
    ]


@pytest.mark.parametrize(
    "content",
    ["q1\ta\t1\nq1\tb\tfalse\n", "label\tquery\tdocument\n1\tq1\ta\n0\tq1\tb\n"],
)
def test_columns_of_texts(tmp_path, content):
    path = tmp_path / "pairs.tsv"
    path.write_text(content)
    found = read_labelled(path).pairs
    assert [(p.query, p.passage, p.relevant) for p in found] == [("q1", "a", True), ("q1", "b", 0)]


def test_margins_with_and_without_queries(tmp_path):
    path = tmp_path / "margins.tsv"
    path.write_text("1.5\t1\n-2\t0\n")
    found = read_labelled(path)
    assert [(m.margin, m.relevant) for m in found.margins] == [(1.5, True), (-2.0, False)]
    assert len({m.group for m in found.margins}) == 2
    assert "2 margins name no query" in found.notes[0]
    lines = tmp_path / "margins.jsonl"
    lines.write_text('{"margin": 1, "label": 1, "query_id": "a"}\n' * 2)
    found = read_labelled(lines)
    assert {m.group for m in found.margins} == {"query a"}
    assert found.notes == ()


@pytest.mark.parametrize(
    ("name", "line", "message"),
    [
        ("p.jsonl", "{", "line 2: expected one JSON object"),
        ("p.jsonl", '{"query": "q", "passage": "a"}', 'line 2: "label" must be 0, 1, true or'),
        ("p.jsonl", '{"query": "q", "passage": "a", "label": 2}', "got 2"),
        ("p.jsonl", '{"query": "q", "passage": "a", "label": 1.0}', "got 1.0"),
        ("p.jsonl", '{"query": "q", "label": 1}', "line 2: expected one of passage, document"),
        ("p.jsonl", '{"query": "q", "text": "a", "passage": "b", "label": 1}', "got passage, text"),
        ("p.jsonl", '{"passage": "a", "label": 1}', "line 2: query must be a string"),
        ("p.jsonl", '{"query": " ", "passage": "a", "label": 1}', "line 2: query must hold"),
        ("p.jsonl", '{"query": "q", "passage": 3, "label": 1}', "line 2: passage must be a string"),
        ("p.jsonl", '{"query": "q", "passage": "\\ud800", "label": 1}', "line 2: passage holds"),
        (
            "p.jsonl",
            '{"query": "q", "passage": "a", "label": 1, "query_id": [1]}',
            'line 2: "query_id" must be',
        ),
        ("p.jsonl", '{"margin": 1, "label": 1}', "line 2: expected either texts or margins"),
        ("p.tsv", "q\ta", "line 2: expected 3 columns"),
        ("p.tsv", "q\ta\tmaybe", "line 2: \"label\" must be 0, 1, true or false; got 'maybe'"),
        ("m.jsonl", '{"margin": NaN, "label": 1}', 'line 2: "margin" must be a finite number'),
        ("m.jsonl", '{"margin": true, "label": 1}', 'line 2: "margin" must be a finite number'),
        ("m.jsonl", '{"margin": null, "label": 1}', 'line 2: "margin" must be a finite number'),
    ],
)
def test_bad_lines_are_named(tmp_path, name, line, message):
    first = {
        "p.jsonl": '{"query": "q", "passage": "a", "label": 1}',
        "p.tsv": "q\ta\t1",
        "m.jsonl": '{"margin": 1, "label": 1}',
    }[name]
    path = tmp_path / name
    path.write_text(f"{first}\n{line}\n")
    with pytest.raises(DataFileError) as caught:
        read_labelled(path)
    assert str(path) in str(caught.value)
    assert message in str(caught.value)


def test_bad_files_are_named(tmp_path):
    (tmp_path / "empty.jsonl").write_text("\n")
    (tmp_path / "wide.tsv").write_text("a\tb\tc\td\n")
    (tmp_path / "header.tsv").write_text("query\tpasage\tlabel\n")
    for name, message in [
        ("none.jsonl", "cannot be read"),
        ("pairs.csv", "expected a name that ends in"),
        ("empty.jsonl", "expected labelled pairs; there is none"),
        ("wide.tsv", "line 1: expected 2 or 3 columns"),
        ("header.tsv", "line 1: expected each column once"),
    ]:
        with pytest.raises(DataFileError, match=message):
            read_labelled(tmp_path / name)


@pytest.fixture(scope="module")
def small_beir(tmp_path_factory):
    """Twelve queries of the demo collection with the passages judged for them, and some others."""
    collection = load_demo_collection().first_queries(12)
    judged = {pid for found in collection.qrels.values() for pid in found}
    kept = judged | set(list(collection.passages)[:60])
    folder = tmp_path_factory.mktemp("beir")
    (folder / "qrels").mkdir()
    (folder / "corpus.jsonl").write_text(
        "".join(
            json.dumps({"_id": i, "text": text}) + "\n"
            for i, text in collection.passages.items()
            if i in kept
        )
    )
    (folder / "queries.jsonl").write_text(
        "".join(json.dumps({"_id": i, "text": t}) + "\n" for i, t in collection.queries.items())
    )
    (folder / "qrels" / "test.tsv").write_text(
        "".join(
            f"{query}\t{passage}\t{relevance}\n"
            for query, found in collection.qrels.items()
            for passage, relevance in found.items()
        )
    )
    return folder


def test_pico_on_judged_claims(small_beir):
    found = read_labelled(small_beir, candidates=8)
    assert "judged by nobody and count as not relevant" in found.notes[1]
    assert len({pair.group for pair in found.pairs}) == 12
    assert 5 < sum(pair.relevant for pair in found.pairs) < 25
    reranker = KaLMReranker("pico", dtype="float32", device="cpu")
    margins, origin = score_labelled(reranker, found.pairs)
    assert origin.instructions == (reranker.default_instruction,)
    report = calibrate(margins, origin=origin, precisions=[0.5])
    calibration = report.calibration
    assert calibration.held_out.log_loss < calibration.raw.log_loss
    assert calibration.data.num_pairs == len(found.pairs)
    # The same pairs with the calibration: its quality is what was said.
    again = KaLMReranker("pico", dtype="float32", device="cpu", calibration=calibration)
    pairs = [(pair.query, pair.passage) for pair in found.pairs]
    labels = np.array([pair.relevant for pair in found.pairs])
    assert quality(np.array(again.predict(pairs)), labels).log_loss == pytest.approx(
        calibration.fitted.log_loss, abs=1e-9
    )


def test_the_first_queries_only(small_beir):
    found = read_labelled(small_beir, candidates=3, queries=2)
    assert len({pair.group for pair in found.pairs}) == 2
    assert len(found.pairs) <= 6
