"""A calibration: its arithmetic, its file, and what carries it."""

import json
import logging
import math
import os
from dataclasses import replace
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kalm_reranker import KaLMReranker, PassageIndex
from kalm_reranker.calibration import (
    Calibration,
    CalibrationData,
    CalibrationOrigin,
    CalibrationQuality,
    Threshold,
)
from kalm_reranker.errors import (
    CalibrationMismatchError,
    InvalidCalibrationError,
    InvalidOptionError,
    StoreWriteError,
)
from kalm_reranker.reranker import ScoreRequest
from kalm_reranker.scoring import score_from_margin

QUERY = "What is the capital of China?"
DOCUMENTS = [
    "Gravity attracts bodies toward one another.",
    "The capital of China is Beijing.",
    "Paris is the capital of France.",
]
DATA = CalibrationData(source="pairs.jsonl", num_pairs=200, num_positives=20, num_queries=10)
PLATT = Calibration(method="platt", slope=0.3, intercept=-0.7, data=DATA)

finite = st.floats(allow_nan=False, allow_infinity=False)
slopes = st.floats(1e-6, 1e6)
margins = st.floats(-1e3, 1e3)
qualities = st.builds(CalibrationQuality, log_loss=finite, brier=finite, ece=finite)
thresholds = st.builds(
    Threshold,
    **dict.fromkeys(
        ["wanted_precision", "score", "margin", "precision", "precision_low", "recall"], finite
    ),
    num_taken=st.integers(0, 2**60),
    held_out_precision=st.none() | finite,
    held_out_recall=st.none() | finite,
)
texts = st.text(st.characters(exclude_categories=["Cs"]))
origins = st.builds(
    CalibrationOrigin,
    model=st.none() | texts,
    model_fingerprint=st.none() | texts,
    compression_ratio=st.none() | st.integers(1, 128),
    instructions=st.lists(texts, max_size=3).map(tuple),
    dtype=st.none() | texts,
)
calibrations = st.builds(
    Calibration,
    method=st.just("platt"),
    slope=slopes,
    intercept=finite,
    data=st.builds(
        CalibrationData,
        source=texts,
        num_pairs=st.integers(101, 10**9),
        num_positives=st.integers(1, 100),
        num_queries=st.integers(1, 100),
    ),
    origin=origins,
    raw=st.none() | qualities,
    held_out=st.none() | qualities,
    thresholds=st.lists(thresholds, max_size=3).map(tuple),
    created_at=texts,
)


@given(slopes, st.floats(-1e3, 1e3), margins, margins)
def test_a_larger_margin_never_has_a_smaller_score(slope, intercept, one, other):
    calibration = Calibration(method="platt", slope=slope, intercept=intercept, data=DATA)
    low, high = sorted([one, other])
    assert 0 <= calibration.score(low) <= calibration.score(high) <= 1


@given(st.floats(-750, 40))
def test_neighbouring_margins_keep_their_order(margin):
    # Where odds / (1 + odds) is computed from two rounded numbers, they do not: -0.71 and others.
    following = margin
    for _ in range(20):
        margin, following = following, math.nextafter(following, math.inf)
        assert score_from_margin(margin) <= score_from_margin(following)


def test_margins_that_differ_visibly_have_scores_that_differ():
    scores = [PLATT.score(step / 100) for step in range(-5000, 5000)]
    assert all(low < high for low, high in pairwise(scores))
    assert PLATT.score(0.7 / 0.3) == pytest.approx(0.5, abs=1e-15)


def test_slope_one_is_the_raw_score():
    same = Calibration(method="temperature", slope=1.0, intercept=0.0, data=DATA)
    for margin in (-1e4, -12.25, 0.0, 8.625, 1e4):
        assert same.score(margin) == score_from_margin(margin)
        assert same.scored_pair(margin).raw_score == score_from_margin(margin)


@given(calibration=calibrations)
def test_saved_and_loaded_it_is_the_same_to_the_last_bit(calibration, tmp_path_factory):
    path = tmp_path_factory.getbasetemp() / "round-trip.json"
    calibration.save(path)
    assert Calibration.load(path) == calibration


def test_saving_replaces_a_file_whole_or_leaves_it(tmp_path):
    path = tmp_path / "calibration.json"
    PLATT.save(path)
    before = path.read_bytes()
    broken = replace(PLATT, raw=CalibrationQuality(log_loss=math.nan, brier=0.0, ece=0.0))
    with pytest.raises(ValueError, match="JSON compliant"):
        broken.save(path)
    assert path.read_bytes() == before
    (tmp_path / "folder").mkdir()
    for place in (tmp_path / "folder", tmp_path / "nowhere" / "c.json", path / "c.json"):
        with pytest.raises(StoreWriteError, match="cannot be written"):
            PLATT.save(place)
    assert sorted(os.listdir(tmp_path)) == ["calibration.json", "folder"]


def edited(**changes):
    return json.dumps(PLATT.as_dict() | changes)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("", "is no JSON"),
        ("{", "is no JSON"),
        (b"\xff\xfe", "is no JSON"),
        ("[" * 100_000, "is no JSON"),
        ("[1]", "is no calibration"),
        ('{"slope": 1.0}', "is no calibration"),
        (" " * 5_000_000, "is no calibration: it has more than"),
        (edited(format_version=2), "format_version must be 1; got 2"),
        (edited(format_version=True), "format_version must be 1; got True"),
        (edited(extra=1), "expected an object with the keys method, slope"),
        (edited(slope="1"), "slope: expected a finite number; got '1'"),
        (edited(slope=math.nan), "slope: expected a finite number; got nan"),
        (edited(slope=10**400), "slope: expected a finite number"),
        (edited(slope=True), "slope: expected a finite number; got True"),
        (edited(slope=0), "slope must be a finite number above 0"),
        (edited(slope=-1.5), "slope must be a finite number above 0"),
        (edited(method="isotonic"), "method must be one of 'temperature', 'platt'"),
        (edited(method="temperature"), "intercept must be 0 for a temperature; got -0.7"),
        (edited(data={"source": "x"}), "data: expected an object with the keys source"),
        (edited(data=None), "data: expected an object with the keys source"),
        (edited(thresholds=3), "thresholds: expected a list; got 3"),
        (edited(thresholds=[3]), r"thresholds\[0\]: expected an object"),
        (
            edited(data=PLATT.as_dict()["data"] | {"num_positives": 0}),
            "data must hold relevant pairs and others; got 0 relevant of 200",
        ),
        (
            edited(origin=PLATT.as_dict()["origin"] | {"instructions": [1]}),
            r"origin: instructions\[0\]: expected a string; got 1",
        ),
    ],
)
def test_what_is_no_calibration_is_refused_by_name(tmp_path, content, message):
    path = tmp_path / "bad.json"
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    with pytest.raises(InvalidCalibrationError, match=message) as caught:
        Calibration.load(path)
    assert caught.value.message.startswith(str(path))


def test_files_and_values_that_are_not_there(tmp_path):
    with pytest.raises(InvalidCalibrationError, match="No such file"):
        KaLMReranker("pico", calibration=tmp_path / "none.json")
    with pytest.raises(InvalidOptionError, match="calibration must be a Calibration, the path"):
        KaLMReranker("pico", calibration=0.5)
    with pytest.raises(InvalidOptionError, match="There is no threshold for a precision"):
        PLATT.threshold(0.9)


@pytest.fixture(scope="module")
def pico():
    return KaLMReranker("pico", dtype="float32", device="cpu")


@pytest.fixture(scope="module")
def fitted(pico):
    return replace(PLATT, origin=pico.calibration_origin([pico.default_instruction]))


@pytest.fixture(scope="module")
def calibrated(fitted):
    return KaLMReranker("pico", dtype="float32", device="cpu", calibration=fitted)


def test_every_way_to_score_is_calibrated_and_keeps_margins(pico, calibrated, fitted):
    pairs = [(QUERY, document) for document in DOCUMENTS]
    raw = pico.predict(pairs, return_margin=True)
    wanted = [fitted.score(pair.margin) for pair in raw]
    assert wanted != [pair.score for pair in raw]
    assert calibrated.predict(pairs) == wanted
    scored = calibrated.predict(pairs, return_margin=True)
    assert [pair.margin for pair in scored] == [pair.margin for pair in raw]
    assert [pair.raw_score for pair in scored] == [pair.score for pair in raw]
    states = calibrated.encode(DOCUMENTS)
    assert calibrated.score(QUERY, states) == pytest.approx(wanted, abs=1e-6)
    (many,) = calibrated.score_many([ScoreRequest(QUERY, states)])
    assert [pair.score for pair in many] == pytest.approx(wanted, abs=1e-6)
    ranked = calibrated.rank(QUERY, DOCUMENTS, return_margin=True)
    before = pico.rank(QUERY, DOCUMENTS, return_margin=True)
    assert [r["corpus_id"] for r in ranked] == [r["corpus_id"] for r in before]
    assert [r["margin"] for r in ranked] == [r["margin"] for r in before]
    assert [r["raw_score"] for r in ranked] == [r["score"] for r in before]
    assert "raw_score" not in before[0]
    assert "calibration='platt 0.3 * margin -0.7'" in repr(calibrated)
    assert "calibration" not in repr(pico)


def test_another_model_is_refused_with_both_fingerprints(pico, fitted):
    ours = pico.provenance.model_fingerprint
    other = replace(fitted, origin=replace(fitted.origin, model="nano", model_fingerprint="f00"))
    with pytest.raises(CalibrationMismatchError, match=f"'nano', model f00; .* model {ours}"):
        KaLMReranker("pico", calibration=other)
    newer = replace(fitted, origin=replace(fitted.origin, template_version=7))
    with pytest.raises(CalibrationMismatchError, match="template version 7"):
        KaLMReranker("pico", calibration=newer)


def test_other_settings_are_said_and_counted(fitted, calibrated, caplog):
    with caplog.at_level(logging.INFO, logger="kalm_reranker"):
        KaLMReranker("pico", dtype="float32", calibration=fitted, max_length=64)
        assert "the calibration was fitted with max_length 512, not 64" in caplog.text
        KaLMReranker("pico", dtype="float32", calibration=PLATT)
        assert "does not say which model it was fitted to" in caplog.text
        caplog.clear()
        before = calibrated.stats.pairs_outside_calibration
        for _ in range(2):
            calibrated.rank(QUERY, DOCUMENTS, compression_ratio=8)
        assert calibrated.stats.pairs_outside_calibration - before == 6
        (said,) = [r for r in caplog.records if "compression_ratio 2, not 8" in r.message]
        assert said.levelno == logging.WARNING
        calibrated.rank(QUERY, DOCUMENTS, instruction="Find a refutation.")
        assert "another instruction than" in caplog.text
    before = calibrated.stats.pairs_outside_calibration
    calibrated.rank(QUERY, DOCUMENTS)
    assert calibrated.stats.pairs_outside_calibration == before


def test_an_index_searches_with_it(fitted, tmp_path):
    with PassageIndex.create(tmp_path / "index", "pico", dtype="float32") as index:
        index.add([(str(number), text) for number, text in enumerate(DOCUMENTS)])
        before = index.search("capital of China", fuse=False)
    assert all(result.raw_score == result.score for result in before)
    path = tmp_path / "calibration.json"
    fitted.save(path)
    with PassageIndex.open(tmp_path / "index", calibration=path) as index:
        after = index.search("capital of China", fuse=False)
        assert [result.id for result in after] == [result.id for result in before]
        assert [result.margin for result in after] == [result.margin for result in before]
        assert [r.score for r in after] == [fitted.score(r.margin) for r in before]
        assert [r.as_dict()["raw_score"] for r in after] == [r.score for r in before]
        assert after.notes == ()
        coarse = index.search("capital of China", compression_ratio=8)
        assert coarse.notes == (
            "at ratio 8, the calibration was fitted with compression_ratio 2, not 8: scores are in "
            "order, but rougher as probabilities",
        )
        best = after[0].score
        assert [result.id for result in after.at_least(best)] == [after[0].id]
    other = replace(fitted, origin=replace(fitted.origin, model_fingerprint="f00"))
    with (
        PassageIndex.open(tmp_path / "index", calibration=other) as index,
        pytest.raises(CalibrationMismatchError),
    ):
        index.search("capital")
    with pytest.raises(InvalidCalibrationError, match="cannot be read"):
        PassageIndex.open(tmp_path / "index", calibration=tmp_path / "none.json")


def test_an_index_refuses_it_beside_a_reranker_of_its_own(pico, fitted, tmp_path):
    with pytest.raises(InvalidOptionError, match="calibration belong to the reranker"):
        PassageIndex.create(tmp_path / "index", pico, calibration=fitted)
