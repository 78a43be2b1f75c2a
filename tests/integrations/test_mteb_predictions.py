"""Predictions as the real mteb writes them, and what else may lie in such a file."""

import json

import pytest

from kalm_reranker.errors import DataFileError
from kalm_reranker.evaluation.first_stage.mteb_predictions import read_mteb_predictions
from kalm_reranker.integrations.mteb_search import KaLMSearch


@pytest.fixture
def folder(evaluate, make_task, tmp_path):
    model = KaLMSearch("pico", dtype="float32", num_candidates=3)
    evaluate(model, make_task("Retrieval", top_ranked=False))
    return tmp_path / "predictions"


def test_what_mteb_saves_is_read_as_a_run(folder, data):
    file = folder / "LocalClaims_predictions.json"
    run = read_mteb_predictions(file)
    assert run == json.loads(file.read_text())["default"]["test"]
    assert {name: len(scores) for name, scores in run.items()} == dict.fromkeys(data.queries, 3)
    assert read_mteb_predictions(folder) == run
    assert read_mteb_predictions(folder, task="LocalClaims") == run


def test_predictions_are_candidates_of_the_next_run(folder, make_task, evaluate, data, pico):
    first = read_mteb_predictions(folder)
    task = make_task("Retrieval", top_ranked=False).convert_to_reranking(folder, top_k=2)
    model = KaLMSearch("pico", dtype="float32", compression_ratio=8)
    _, predictions = evaluate(model, task)
    for name, scores in first.items():
        best = sorted(scores, key=lambda one: scores[one], reverse=True)[:2]
        assert set(predictions[name]) == set(best)


META = {"model_name": "a/b", "revision": "1"}


@pytest.mark.parametrize(
    ("document", "message"),
    [
        ("{", r"one\.json: expected one JSON object; .* at line 1, column 2"),
        ("[1]", r"one\.json: expected an object of subsets; got \[1\]"),
        ({"mteb_model_meta": META}, r"one\.json holds no subset 'default'\. Hint: In it: none"),
        ({"de": {}}, r"holds no subset 'default'\. Hint: In it: de"),
        ({"default": {"dev": {}}}, r"one\.json holds no split 'test'\. Hint: In it: dev"),
        ({"default": {"test": [[0.5]]}}, r"one\.json, default, test: expected .*retrieval"),
        ({"default": {"test": {"q": ["d"]}}}, r"query 'q': expected scores; got \['d'\]"),
        ({"default": {"test": {"q": {"d": "1"}}}}, r"passage 'd': expected a finite number"),
        ({"default": {"test": {"q": {"d": True}}}}, r"passage 'd': .* got True"),
        ('{"default": {"test": {"q": {"d": NaN}}}}', r"passage 'd': .* got nan"),
        ('{"default": {"test": {"q": {"d": 1%s}}}}' % ("0" * 400), r"'d': .* finite number"),
    ],
)
def test_other_files_are_named(tmp_path, document, message):
    file = tmp_path / "one.json"
    file.write_text(document if isinstance(document, str) else json.dumps(document))
    with pytest.raises(DataFileError, match=message):
        read_mteb_predictions(file)


def test_subsets_and_splits_are_chosen(tmp_path):
    file = tmp_path / "one.json"
    run = {"q": {"d": 1}, "none": {}}
    file.write_text(json.dumps({"mteb_model_meta": META, "de": {"dev": run}}))
    assert read_mteb_predictions(file, subset="de", split="dev") == {"q": {"d": 1.0}, "none": {}}


def test_missing_files_are_named(tmp_path):
    with pytest.raises(DataFileError, match=r"gone\.json cannot be read"):
        read_mteb_predictions(tmp_path / "gone.json")
    with pytest.raises(DataFileError, match=r"got 0.*prediction_folder"):
        read_mteb_predictions(tmp_path)
    for name in ("A", "B"):
        (tmp_path / f"{name}_predictions.json").write_text("{}")
    with pytest.raises(DataFileError, match=r"of one task where none is named; got 2.*A, B"):
        read_mteb_predictions(tmp_path)
    with pytest.raises(DataFileError, match=r"task 'C'; it should be C_predictions.*A, B"):
        read_mteb_predictions(tmp_path, task="C")
