"""What an evaluation found, as plain data."""

import json
from dataclasses import asdict, replace

import pytest

from kalm_reranker.errors import InvalidOptionError
from kalm_reranker.evaluation.results import (
    SCHEMA_VERSION,
    Comparison,
    DatasetInfo,
    Evaluation,
    Measurement,
    OnlineCost,
    RankerInfo,
    ScoreDistribution,
)
from kalm_reranker.machine import this_machine


def dataset(name, *group):
    return DatasetInfo(
        name=name,
        source=f"data/{name}",
        split="test",
        instruction=None,
        num_passages=3,
        num_queries=2,
        num_candidates=6,
        num_candidate_passages=3,
        notes=("A note.",),
        group=group,
    )


def measurement(name, **measures):
    distribution = ScoreDistribution(edges=(0.0, 0.5, 1.0), relevant=(0, 2), other=(4, 0))
    return Measurement(
        dataset=name, ranker="r", measures=measures, distribution=distribution, seconds={"score": 1}
    )


@pytest.fixture
def evaluation():
    datasets = [
        dataset("a1", "lmeb", "dialogue", "A"),
        dataset("b", "lmeb", "dialogue", "B"),
        dataset("a2", "lmeb", "dialogue", "A"),
        dataset("alone"),
    ]
    values = {"a1": 0.1, "a2": 0.3, "b": 0.6, "alone": 1.0}
    return Evaluation(
        settings={"ratios": (2, 4)},
        machine=this_machine(),
        first_stage="BM25",
        datasets=tuple(datasets),
        rankers=(RankerInfo(name="r", kind="kalm", settings={"dtype": "float32"}),),
        measurements=tuple(measurement(name, AP=value) for name, value in values.items()),
        comparisons=(
            Comparison(
                dataset="b",
                ranker="r",
                baseline="s",
                measure="AP",
                difference=0.1,
                low=0.0,
                high=0.2,
                p_value=0.05,
                test="paired t-test",
                wins=1,
                losses=0,
                num_queries=2,
            ),
        ),
        costs=(
            OnlineCost(
                dataset="b",
                model="pico",
                way="stored",
                compression_ratio=2,
                num_candidates=3.0,
                passage_tokens=9.5,
                query_tokens=12.0,
                measured_ms=1.5,
                analytic=0.1,
                measured=None,
            ),
        ),
        notes=("One.", "Two."),
    )


def test_parts_of_a_task_are_averaged_before_tasks_are(evaluation):
    assert evaluation.mean("r", "AP") == pytest.approx(((0.1 + 0.3) / 2 + 0.6 + 1.0) / 3)


def test_a_mean_without_a_value_is_none(evaluation):
    assert evaluation.mean("r", "nDCG@10") is None
    assert evaluation.mean("nobody", "AP") is None
    assert replace(evaluation, datasets=()).mean("r", "AP") is None
    fewer = replace(evaluation, measurements=evaluation.measurements[1:])
    assert fewer.mean("r", "AP") is None


def test_what_was_not_run_is_none(evaluation):
    assert evaluation.find("b", "r") is evaluation.measurements[2]
    assert evaluation.find("b", "s") is None
    assert evaluation.find("c", "r") is None


def test_json_and_back_is_the_same(evaluation):
    document = json.loads(json.dumps(evaluation.as_dict()))
    assert document["schema_version"] == SCHEMA_VERSION
    read = Evaluation.from_dict(document)
    assert read == replace(evaluation, settings={"ratios": [2, 4]})
    assert all(isinstance(one.distribution, ScoreDistribution) for one in read.measurements)
    assert read.datasets[0].group == ("lmeb", "dialogue", "A")
    assert asdict(read) == asdict(replace(evaluation, settings={"ratios": [2, 4]}))


@pytest.mark.parametrize("version", [None, 0, SCHEMA_VERSION + 1, "1"])
def test_another_version_is_refused(evaluation, version):
    document = evaluation.as_dict() | {"schema_version": version}
    with pytest.raises(InvalidOptionError, match=f"schema_version must be 1; got {version!r}"):
        Evaluation.from_dict(document)
    with pytest.raises(InvalidOptionError, match="schema_version must be 1; got None"):
        Evaluation.from_dict({})
