"""Evaluations from end to end: numbers against independent ones, and what a second one costs."""

import json
from collections import Counter
from dataclasses import asdict, replace

import ir_measures
import numpy as np
import pytest

from kalm_reranker.checkpoints.settings import CascadeSettings
from kalm_reranker.errors import (
    DataFileError,
    DatasetUnavailableError,
    InvalidOptionError,
    InvalidRatioError,
)
from kalm_reranker.evaluation.data.beir import load_beir
from kalm_reranker.evaluation.data.datasets import Dataset, resolve_datasets
from kalm_reranker.evaluation.first_stage.first_stage_spec import FirstStageSpec
from kalm_reranker.evaluation.measures.per_query import read_per_query
from kalm_reranker.evaluation.rankers.kalm import KaLMRanker
from kalm_reranker.evaluation.results import Evaluation
from kalm_reranker.evaluation.run import evaluate
from kalm_reranker.evaluation.settings import EvaluationSettings
from kalm_reranker.search.bm25 import BM25FirstStage
from kalm_reranker.search.run_files import read_trec_run
from tests.evaluation.conftest import write_beir

pytest.importorskip("bm25s")
pytest.importorskip("scipy")

TOP_K = 8
SETTINGS = EvaluationSettings(
    ratios=(4, 16),
    cascades=(CascadeSettings(coarse_ratio=16, fine_ratio=4, fine_count=3),),
    top_k=TOP_K,
    timed_queries=2,
    distributions=True,
)
PASSES = ("pico r=4", "pico r=16")
NAMES = [
    *("BM25", *PASSES, "pico 16:4:3"),
    *("BM25 + pico r=4", "BM25 + pico r=16", "BM25 + pico 16:4:3"),
]


class Evaluated:
    """An evaluation, what it said, and what the model did for it."""

    def __init__(self, pico, datasets, folder, settings=SETTINGS, **options):
        before = Counter(pico.stats.as_dict())
        self.said, self.so_far = [], []
        self.folder = folder
        self.evaluation = evaluate(
            datasets,
            settings,
            folder,
            rerankers={"pico": pico},
            say=self.said.append,
            on_dataset=self.so_far.append,
            show_progress=False,
            **options,
        )
        self.work = Counter(pico.stats.as_dict()) - before

    def run(self, dataset, name):
        return read_trec_run(self.folder / "datasets" / dataset / "runs" / f"{name}.trec.gz")


def comparable(evaluation):
    """What does not depend on how fast the machine was."""
    document = json.loads(json.dumps(evaluation.as_dict()))
    for one in document["measurements"]:
        del one["ms_per_query"], one["seconds"]
    return document


@pytest.fixture(scope="module")
def datasets(small_sets):
    return resolve_datasets([str(small_sets)])


@pytest.fixture(scope="module")
def first(tmp_path_factory, pico, datasets):
    return Evaluated(pico, datasets, tmp_path_factory.mktemp("evaluation"))


@pytest.fixture(scope="module")
def scored(small_sets, pico):
    """Dataset -> (qrels, ranker -> run), made without any part of an evaluation."""
    found = {}
    for name in ("first", "second"):
        collection = load_beir(small_sets / name)
        stage = BM25FirstStage(collection.passages, k1=0.9, b=0.4)
        runs = {way: {} for way in NAMES}
        for query_id, query in collection.queries.items():
            candidates = stage.search({query_id: query}, TOP_K)[query_id]
            ids = list(candidates)
            runs["BM25"][query_id] = candidates
            texts = [collection.passages[key] for key in ids]
            margins = {}
            for ratio in (4, 16):
                pairs = pico.predict(
                    [(query, text) for text in texts],
                    return_margin=True,
                    compression_ratio=ratio,
                    show_progress=False,
                )
                margins[ratio] = {key: pair.margin for key, pair in zip(ids, pairs, strict=True)}
                runs[f"pico r={ratio}"][query_id] = margins[ratio]
                runs[f"BM25 + pico r={ratio}"][query_id] = added(candidates, margins[ratio])
            best = sorted(ids, key=lambda key: -margins[16][key])[:3]
            order = sorted(best, key=lambda key: -margins[4][key])
            order += sorted(set(ids) - set(best), key=lambda key: -margins[16][key])
            runs["pico 16:4:3"][query_id] = {key: -place for place, key in enumerate(order)}
        found[name] = collection.qrels, runs
    return found


def added(first, second):
    """The sum of z-scores."""

    def standard(scores):
        values = np.array(list(scores.values()))
        return (values - values.mean()) / values.std() if len(values) > 1 else 0 * values

    return dict(zip(first, standard(first) + standard(second), strict=True))


def measured(qrels, run, name):
    measure = ir_measures.parse_measure(name)
    run = {q: {key: float(score) for key, score in found.items()} for q, found in run.items()}
    return ir_measures.calc_aggregate([measure], qrels, run)[measure]


def check(first, dataset, name, qrels, run):
    found = first.evaluation.find(dataset, name).measures
    for measure in ("nDCG@10", "RR@10", "AP", "R@100"):
        assert found[measure] == pytest.approx(measured(qrels, run, measure), abs=1e-9)


@pytest.mark.parametrize("name", ["BM25", *PASSES, "pico 16:4:3"])
def test_numbers_are_those_of_scoring_directly(first, scored, name):
    for dataset, (qrels, runs) in scored.items():
        check(first, dataset, name, qrels, runs[name])


@pytest.mark.parametrize("name", ["BM25 + pico r=4", "BM25 + pico r=16"])
def test_blends_are_sums_of_z_scores(first, scored, name):
    for dataset, (qrels, runs) in scored.items():
        kept = first.run(dataset, name.replace(" ", "_"))
        for query_id, expected in runs[name].items():
            assert kept.get(query_id, {}) == pytest.approx(expected, abs=1e-3)
        # Of two candidates on which both disagree rounding alone decides; so these are ranks.
        ranks = {
            query_id: {
                key: -place
                for place, key in enumerate(sorted(found, key=lambda key: (-found[key], key)))
            }
            for query_id, found in kept.items()
        }
        check(first, dataset, name, qrels, ranks)


def test_every_ranker_orders_the_same_candidates_on_every_dataset(first, scored):
    evaluation = first.evaluation
    assert [one.name for one in evaluation.rankers] == NAMES
    assert [one.name for one in evaluation.datasets] == ["first", "second"]
    cells = [(dataset, name) for dataset in ("first", "second") for name in NAMES]
    assert [(one.dataset, one.ranker) for one in evaluation.measurements] == cells
    for dataset, (_, runs) in scored.items():
        for stem in ("BM25", "pico_r=4", "pico_r=16", "BM25_+_pico_r=4"):
            run = first.run(dataset, stem)
            assert {q: set(found) for q, found in run.items()} == {
                q: set(found) for q, found in runs["BM25"].items() if found
            }
        read = first.run(dataset, "pico_r=4")
        for query_id, expected in runs["pico r=4"].items():
            assert read.get(query_id, {}) == pytest.approx(expected, abs=1e-4)


def test_what_the_evaluation_says_of_its_data(first, small_sets):
    info = first.evaluation.datasets[0]
    assert (info.source, info.split, info.group) == (str(small_sets / "first"), "test", ())
    assert (info.num_passages, info.num_queries) == (60, 8)
    assert 0 < info.num_candidate_passages <= info.num_candidates <= 8 * TOP_K
    assert "k1=0.9" in first.evaluation.first_stage.replace(" = ", "=")
    assert len(first.so_far) == 2
    assert first.so_far[0].datasets == first.evaluation.datasets[:1]


def test_each_distinct_candidate_is_encoded_once(first, small_sets):
    num_passages = sum(one.num_candidate_passages for one in first.evaluation.datasets)
    # Scores at every ratio follow from one pass of the encoder.
    assert first.work["passages_encoded"] == num_passages
    assert "[1/2] first: pico r=4: scored in " in "\n".join(first.said)


def test_distributions_and_areas_are_of_single_passes_alone(first):
    for one in first.evaluation.measurements:
        assert (one.distribution is not None) == (one.ranker in PASSES)
        assert ("ROC-AUC" in one.measures) == (one.ranker in ("BM25", *PASSES))
        if one.distribution is not None:
            info = next(d for d in first.evaluation.datasets if d.name == one.dataset)
            counts = one.distribution.relevant + one.distribution.other
            assert sum(counts) == info.num_candidates


def test_times_and_bytes_are_of_what_has_them(first):
    evaluation = first.evaluation
    for dataset in ("first", "second"):
        of = {name: evaluation.find(dataset, name) for name in NAMES}
        assert of["BM25"].ms_per_query is None
        assert of["BM25"].bytes_per_passage is None
        assert of["pico r=4"].bytes_per_passage > of["pico r=16"].bytes_per_passage > 0
        for name in NAMES[1:]:
            assert of[name].ms_per_query > 0
        # A cascade needs what is stored at its fine ratio; coarser states are pooled from it.
        assert of["pico 16:4:3"].bytes_per_passage == of["pico r=4"].bytes_per_passage
        blend = of["BM25 + pico r=16"]
        assert blend.bytes_per_passage == of["pico r=16"].bytes_per_passage
        assert of["pico r=4"].seconds.keys() == {"prepare", "score"}


def test_every_ranker_is_compared_with_the_baseline(first):
    comparisons = first.evaluation.comparisons
    assert [(one.dataset, one.ranker) for one in comparisons] == [
        (dataset, name) for dataset in ("first", "second") for name in NAMES[1:]
    ]
    for one in comparisons:
        assert (one.baseline, one.measure) == ("BM25", "nDCG@10")
        ours, theirs = (
            first.evaluation.find(one.dataset, name).measures["nDCG@10"]
            for name in (one.ranker, "BM25")
        )
        assert one.difference == pytest.approx(ours - theirs, abs=1e-12)
        assert one.low <= one.difference <= one.high
        assert one.wins + one.losses <= one.num_queries


def test_values_by_query_are_kept(first, scored):
    table = read_per_query(first.folder / "datasets" / "second" / "per_query" / "pico_r=4.csv")
    qrels, runs = scored["second"]
    assert table.num_candidates == {q: len(found) for q, found in runs["BM25"].items()}
    measure = ir_measures.parse_measure("nDCG@10")
    expected = {
        one.query_id: one.value for one in ir_measures.iter_calc([measure], qrels, runs["pico r=4"])
    }
    assert table.values["nDCG@10"] == pytest.approx(expected, abs=1e-9)


def test_a_second_evaluation_computes_nothing_and_finds_the_same(first, pico, datasets):
    second = Evaluated(pico, datasets, first.folder)
    assert not second.work
    assert comparable(second.evaluation) == comparable(first.evaluation)
    times = [one.ms_per_query for one in second.evaluation.measurements]
    assert times == [one.ms_per_query for one in first.evaluation.measurements]
    assert all(not one.seconds for one in second.evaluation.measurements)
    assert sum("kept from before" in line for line in second.said) == 4


def test_another_ratio_and_codec_are_scored_without_encoding(first, pico, datasets):
    settings = replace(
        SETTINGS, ratios=(8,), cascades=(), codecs=("float32", "int8"), timed_queries=0, blend=False
    )
    other = Evaluated(pico, datasets[1:], first.folder, settings)
    assert other.work["passages_encoded"] == 0
    info = other.evaluation.datasets[0]
    assert other.work["pairs_scored"] == 2 * info.num_candidates
    plain, lossy = (other.evaluation.find("second", f"pico r=8{end}") for end in ("", " int8"))
    assert plain.bytes_per_passage > 3 * lossy.bytes_per_passage
    assert (plain.ms_per_query, lossy.ms_per_query) == (None, None)


def test_states_may_be_kept_somewhere_else(first, pico, datasets, tmp_path):
    settings = replace(SETTINGS, ratios=(16,), cascades=(), timed_queries=0)
    other = Evaluated(pico, datasets[1:], tmp_path, settings, states_folder=first.folder / "states")
    assert other.work["passages_encoded"] == 0
    assert not (tmp_path / "states").exists()
    assert other.evaluation.find("second", "pico r=16").measures == (
        first.evaluation.find("second", "pico r=16").measures
    )


def test_online_costs_are_measured_once_whatever_the_codecs(first, pico, datasets):
    settings = replace(
        SETTINGS, ratios=(4, 16), cascades=(), codecs=("int8",), costs=True, blend=False
    )
    settings = replace(settings, timed_queries=1, max_queries=2)
    found = Evaluated(pico, datasets[1:], first.folder, settings).evaluation.costs
    ways = Counter((one.way, one.compression_ratio) for one in found)
    assert ways == Counter(
        [("encoded", 4), *((way, r) for way in ("stored", "prefix cached") for r in (4, 16))]
    )
    by_way = {(one.way, one.compression_ratio): one for one in found}
    assert by_way["encoded", 4].measured == 1
    assert by_way["stored", 4].measured < 1
    assert by_way["stored", 16].analytic < by_way["stored", 4].analytic < 1
    assert by_way["prefix cached", 4].query_tokens < by_way["stored", 4].query_tokens
    again = Evaluated(pico, datasets[1:], first.folder, settings)
    assert again.evaluation.costs == found
    assert not again.work


def test_an_interruption_costs_only_what_was_not_scored(
    first, pico, datasets, tmp_path, monkeypatch
):
    score = KaLMRanker.score
    asked = []

    def interrupted(self, query_id, query, candidate_ids):
        if len(asked) == 2 * 8 + 3:  # three queries into the second dataset
            raise KeyboardInterrupt
        asked.append(query_id)
        return score(self, query_id, query, candidate_ids)

    settings = replace(SETTINGS, timed_queries=0)
    monkeypatch.setattr(KaLMRanker, "score", interrupted)
    with pytest.raises(KeyboardInterrupt):
        Evaluated(pico, datasets, tmp_path, settings)
    monkeypatch.undo()
    resumed = Evaluated(pico, datasets, tmp_path, settings)
    info = resumed.evaluation.datasets[1]
    assert resumed.work["passages_encoded"] == 0
    assert resumed.work["pairs_scored"] < 2 * info.num_candidates
    expected = {**comparable(first.evaluation), "settings": None}
    assert {**comparable(resumed.evaluation), "settings": None} == expected
    for path in (first.folder / "datasets" / "second" / "runs").glob("pico_r=*.trec.gz"):
        if path.name in ("pico_r=4.trec.gz", "pico_r=16.trec.gz"):
            same = tmp_path / "datasets" / "second" / "runs" / path.name
            assert same.read_bytes() == path.read_bytes()
    assert not list(tmp_path.rglob("*.part.jsonl"))


def missing(name="gone"):
    def load():
        raise DatasetUnavailableError(f"{name} cannot be downloaded.", hint="Use a copy.")

    return Dataset(name=name, source=f"mteb:{name}", split="test", instruction=None, load=load)


BM25_ALONE = EvaluationSettings(models=(), top_k=TOP_K)


def test_datasets_that_cannot_be_had_are_left_out_and_named(datasets, pico, tmp_path):
    found = Evaluated(pico, [missing(), datasets[1], missing("too")], tmp_path, BM25_ALONE)
    assert [one.name for one in found.evaluation.datasets] == ["second"]
    notes = found.evaluation.notes
    assert [note for note in notes if "missing" in note] == [
        "gone is missing: gone cannot be downloaded.",
        "too is missing: too cannot be downloaded.",
    ]
    assert any(line.startswith("[1/3] gone: left out") for line in found.said)
    assert [line for line in found.said if line.startswith("hint: ")] == ["hint: Use a copy."]


def test_a_first_stage_that_differs_between_sets_is_said(datasets, pico, tmp_path):
    passages = {"p1": "北京是中国的首都。", "p2": "狐狸跳过懒狗。"}
    others = [
        write_beir(tmp_path / name, passages, {"q1": "中国的首都"}, {"q1": {"p1": 1}})
        for name in ("chinese", "more")
    ]
    sets = [*datasets, *resolve_datasets(list(map(str, others)))]
    found = Evaluated(pico, sets, tmp_path / "out", BM25_ALONE).evaluation
    alone = Evaluated(pico, datasets, tmp_path / "out", BM25_ALONE).evaluation
    assert "English words" in alone.first_stage
    assert "see the notes" not in alone.first_stage
    assert found.first_stage == f"{alone.first_stage}; other sets have another, see the notes"
    told = [note for note in found.notes if note.startswith("First stage on ")]
    assert [note.split(":")[0].split()[-1] for note in told] == ["chinese", "more"]
    assert all("scripts without spaces" in note for note in told)


@pytest.mark.parametrize("count", [1, 2])
def test_no_dataset_at_all_is_an_error(pico, tmp_path, count):
    with pytest.raises(DatasetUnavailableError, match="download") as raised:
        Evaluated(pico, [missing(), missing("too")][:count], tmp_path, BM25_ALONE)
    assert raised.value.hint


def test_no_dataset_is_named(pico, tmp_path):
    with pytest.raises(InvalidOptionError, match="at least one dataset"):
        Evaluated(pico, [], tmp_path)


@pytest.mark.parametrize(
    ("changes", "error", "said"),
    [
        ({"baseline": "nano"}, InvalidOptionError, "baseline must be one of 'BM25', 'pico r=4'"),
        ({"peers": ("run:BM25={run}",)}, InvalidOptionError, "names must be different"),
        (
            {"cascades": (CascadeSettings(coarse_ratio=6, fine_ratio=4, fine_count=3),)},
            InvalidRatioError,
            "multiple of its fine ratio 4",
        ),
        ({"peers": ("run:other={run}x",)}, DataFileError, "no file or folder"),
    ],
)
def test_rankers_that_do_not_fit_are_refused_before_anything_is_scored(
    pico, datasets, tmp_path, changes, error, said
):
    run = tmp_path / "run.trec"
    run.write_text("q Q0 a 1 1 x\n")
    if "peers" in changes:
        changes = {"peers": tuple(peer.format(run=run) for peer in changes["peers"])}
    with pytest.raises(error, match=said):
        Evaluated(pico, datasets, tmp_path / "out", replace(SETTINGS, **changes))
    assert not (tmp_path / "out").exists()


def test_peers_are_measured_over_the_same_candidates(first, pico, datasets, scored):
    run = first.folder / "datasets" / "second" / "runs" / "pico_r=4.trec.gz"
    settings = replace(BM25_ALONE, peers=(f"run:again={run}",), baseline="again")
    found = Evaluated(pico, datasets[1:], first.folder, settings)
    of = found.evaluation.find("second", "again")
    assert of.measures == first.evaluation.find("second", "pico r=4").measures
    assert (of.ms_per_query, of.bytes_per_passage, found.work) == (None, None, Counter())
    (comparison,) = found.evaluation.comparisons
    assert (comparison.ranker, comparison.baseline) == ("BM25", "again")


def test_parts_of_a_task_count_as_one(first, pico, datasets, tmp_path):
    parts = [replace(one, group=("benchmark", "task")) for one in datasets]
    alone = replace(datasets[1], name="alone")
    found = Evaluated(pico, [*parts, alone], tmp_path, BM25_ALONE).evaluation
    one, two = (found.find(name, "BM25").measures["AP"] for name in ("first", "second"))
    assert found.mean("BM25", "AP") == pytest.approx(((one + two) / 2 + two) / 2)
    assert [info.group for info in found.datasets] == [("benchmark", "task")] * 2 + [()]


def test_ids_of_any_kind_and_queries_without_candidates(pico, tmp_path):
    passages = {"a b": "gravity attracts apples", "日本": "the red fox", "c": "nothing of it"}
    queries = {"q 1": "gravity apples", "q2": "red fox", "q3": "zzz qqq"}
    qrels = {"q 1": {"a b": 1}, "q2": {"日本": 2}, "q3": {"c": 1}}
    write_beir(tmp_path / "odd", passages, queries, qrels)
    settings = replace(SETTINGS, timed_queries=1, distributions=False)
    odd = resolve_datasets([str(tmp_path / "odd")])
    found = Evaluated(pico, odd, tmp_path / "out", settings).evaluation
    again = Evaluated(pico, odd, tmp_path / "out", settings)
    assert comparable(again.evaluation) == comparable(found)
    assert not again.work
    assert found.find("odd", "pico r=4").measures["nDCG@10"] == pytest.approx(2 / 3)
    (note,) = [note for note in found.datasets[0].notes if "count as 0" in note]
    assert "1 of 3 judged queries have no candidate" in note
    table = read_per_query(tmp_path / "out" / "datasets" / "odd" / "per_query" / "pico_r=4.csv")
    assert table.num_candidates["q3"] == 0
    assert table.values["nDCG@10"] == {"q 1": 1.0, "q2": 1.0, "q3": 0.0}


def test_a_single_query_is_measured_but_not_tested(pico, datasets, tmp_path):
    settings = replace(BM25_ALONE, peers=(), max_queries=1)
    found = Evaluated(pico, datasets[:1], tmp_path, settings).evaluation
    assert (found.datasets[0].num_queries, found.comparisons) == (1, ())


@pytest.mark.parametrize("name", ["SomeTask/de", "SomeTask"], ids=["one of several", "the only"])
def test_candidates_of_mteb_are_found_by_task_subset_and_split(
    first, pico, datasets, tmp_path, name
):
    run = first.run("second", "pico_r=4")
    predictions = {"mteb_model_meta": {"model_name": "x"}, "de": {"dev": run}}
    (tmp_path / "SomeTask_predictions.json").write_text(json.dumps(predictions))
    part = replace(datasets[1], name=name, source="mteb:SomeTask/de", split="dev")
    settings = replace(BM25_ALONE, first_stage=FirstStageSpec.parse(f"mteb:{tmp_path}"))
    found = Evaluated(pico, [part], tmp_path / "out", settings).evaluation
    assert (
        found.find(name, "first stage").measures["AP"]
        == (first.evaluation.find("second", "pico r=4").measures["AP"])
    )


def test_an_evaluation_survives_json(first):
    document = json.loads(json.dumps(first.evaluation.as_dict()))
    read = Evaluation.from_dict(document)
    assert json.loads(json.dumps(read.as_dict())) == document
    for name in ("datasets", "measurements", "comparisons", "costs", "notes", "machine"):
        assert getattr(read, name) == getattr(first.evaluation, name), name
    assert [asdict(one)["name"] for one in read.rankers] == NAMES
