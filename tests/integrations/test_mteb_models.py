"""Both wrappers, run by the real `mteb.evaluate`, against the reranker itself."""

import json

import pytest

from kalm_reranker.errors import (
    InvalidOptionError,
    InvalidPairError,
    StoreExistsError,
    UnknownPassageError,
)
from kalm_reranker.evaluation.data.instructions import published_instructions
from kalm_reranker.evaluation.measures.metrics import measure_run
from kalm_reranker.integrations.mteb_model import KaLMCrossEncoder
from kalm_reranker.integrations.mteb_search import KaLMSearch
from kalm_reranker.scoring import score_from_margin
from kalm_reranker.search.bm25 import BM25FirstStage
from kalm_reranker.search.ranking import ranked_ids

WRAPPERS = [KaLMCrossEncoder, KaLMSearch]


def direct_run(pico, data, candidates, instructions=None, queries=None):
    """Margins of all candidates by the reranker alone."""
    run = {}
    for name, ids in candidates.items():
        pairs = [((queries or data.queries)[name], data.passages[one]) for one in ids]
        instruction = None if instructions is None else instructions[name]
        scored = pico.predict(pairs, instruction, return_margin=True)
        run[name] = {one: pair.margin for one, pair in zip(ids, scored, strict=True)}
    return run


def assert_same_run(predictions, expected):
    assert predictions.keys() == expected.keys()
    for name, scores in expected.items():
        assert predictions[name] == pytest.approx(scores, abs=1e-4)
        assert ranked_ids(predictions[name]) == ranked_ids(scores)


@pytest.fixture(scope="module")
def expected(pico, data):
    return direct_run(pico, data, data.candidates)


@pytest.mark.parametrize("wrapper", WRAPPERS)
def test_scores_and_ranking_are_those_of_the_reranker(
    wrapper, evaluate, make_task, data, expected, tmp_path
):
    model = wrapper("pico", dtype="float32", states_folder=tmp_path / "states")
    scores, predictions = evaluate(model, make_task())
    assert_same_run(predictions, expected)
    # mteb rounds what it reports to five digits; the run it saved is measured exactly.
    theirs = measure_run(predictions, data.qrels).mean
    ours = measure_run(expected, data.qrels).mean
    assert theirs == pytest.approx(ours, abs=1e-9)
    assert scores["ndcg_at_10"] == pytest.approx(ours, abs=5.1e-6)
    assert 0 < ours < 1  # else any ranking would do


@pytest.mark.parametrize("wrapper", WRAPPERS)
def test_distinct_passages_are_encoded_once(wrapper, evaluate, make_task, data, tmp_path):
    model = wrapper("pico", dtype="float32", states_folder=tmp_path / "states")
    evaluate(model, make_task())
    distinct = {one for ids in data.candidates.values() for one in ids}
    assert model.reranker.stats.passages_encoded == len(distinct)
    assert model.reranker.stats.pairs_scored == sum(map(len, data.candidates.values()))


def test_many_candidates_are_read_in_parts(evaluate, make_task, expected, tmp_path, monkeypatch):
    monkeypatch.setattr("kalm_reranker.evaluation.rankers.states._BLOCK_BYTES", 1)
    model = KaLMCrossEncoder("pico", dtype="float32", states_folder=tmp_path / "states")
    in_a_call = []
    score = model.reranker.score

    def counted(query, states, *arguments, **options):
        in_a_call.append(len(states))
        return score(query, states, *arguments, **options)

    monkeypatch.setattr(model.reranker, "score", counted)
    _, predictions = evaluate(model, make_task())
    assert set(in_a_call) == {1}
    assert_same_run(predictions, expected)


def test_a_second_run_on_the_same_states_encodes_nothing(evaluate, make_task, expected, tmp_path):
    folder = tmp_path / "states"
    evaluate(KaLMCrossEncoder("pico", dtype="float32", states_folder=folder), make_task())
    again = KaLMSearch("pico", dtype="float32", states_folder=folder)
    _, predictions = evaluate(again, make_task())
    assert again.reranker.stats.passages_encoded == 0
    assert_same_run(predictions, expected)


def test_another_ratio_is_pooled_from_the_same_states(evaluate, make_task, data, tmp_path):
    folder = tmp_path / "states"
    evaluate(KaLMCrossEncoder("pico", dtype="float32", states_folder=folder), make_task())
    coarse = KaLMCrossEncoder("pico", dtype="float32", states_folder=folder, compression_ratio=16)
    _, predictions = evaluate(coarse, make_task())
    assert coarse.reranker.stats.passages_encoded == 0
    assert_same_run(predictions, direct_run(coarse.reranker, data, data.candidates))


def test_a_stored_ratio_serves_finer_ratios_later(evaluate, make_task, tmp_path):
    settings = {"dtype": "float32", "states_folder": tmp_path / "states"}
    first = KaLMCrossEncoder("pico", **settings, compression_ratio=8, stored_ratio=2)
    evaluate(first, make_task())
    later = KaLMCrossEncoder("pico", **settings, compression_ratio=2)
    evaluate(later, make_task())
    assert later.reranker.stats.passages_encoded == 0


def test_without_a_folder_states_of_one_task_are_kept(evaluate, make_task, data):
    model = KaLMCrossEncoder("pico", dtype="float32")
    distinct = len({one for ids in data.candidates.values() for one in ids})
    evaluate(model, make_task())
    evaluate(model, make_task())
    assert model.reranker.stats.passages_encoded == distinct
    evaluate(model, make_task(name="OtherClaims"))
    scratch = model.scorer._scratch
    assert [entry.name for entry in scratch.iterdir()] == ["OtherClaims"]
    del model
    assert not scratch.exists()


def test_candidates_come_from_bm25_where_a_task_has_none(pico, evaluate, make_task, data, tmp_path):
    model = KaLMSearch("pico", dtype="float32", num_candidates=4)
    _, predictions = evaluate(model, make_task("Retrieval", top_ranked=False))
    found = BM25FirstStage(data.passages).search(data.queries, 4)
    candidates = {name: list(scores) for name, scores in found.items()}
    assert_same_run(predictions, direct_run(pico, data, candidates))


def test_a_whole_corpus_is_encoded_on_request(evaluate, make_task, data):
    model = KaLMSearch("pico", dtype="float32", num_candidates=2, encode="corpus")
    evaluate(model, make_task("Retrieval", top_ranked=False))
    assert model.reranker.stats.passages_encoded == len(data.passages)


def test_results_are_cut_at_top_k(make_task, data):
    task = make_task()
    task.load_data()
    split = task.dataset["default"]["test"]
    model = KaLMSearch("pico", dtype="float32")
    place = {"task_metadata": task.metadata, "hf_split": "test", "hf_subset": "default"}
    model.index(split["corpus"], **place, encode_kwargs={})
    candidates = {name: ids[:4] * 2 for name, ids in list(data.candidates.items())[:2]}
    found = model.search(
        split["queries"], **place, top_k=3, encode_kwargs={}, top_ranked=candidates
    )
    assert {name: len(scores) for name, scores in found.items()} == {
        name: 3 if name in candidates else 0 for name in data.queries
    }


def test_unknown_candidates_are_named(make_task, data):
    task = make_task()
    task.load_data()
    split = task.dataset["default"]["test"]
    model = KaLMSearch("pico", dtype="float32")
    place = {"task_metadata": task.metadata, "hf_split": "test", "hf_subset": "default"}
    model.index(split["corpus"], **place, encode_kwargs={})
    name = next(iter(data.queries))
    with pytest.raises(UnknownPassageError, match=f"'nowhere' of query '{name}'.*LocalClaims"):
        model.search(
            split["queries"], **place, top_k=3, encode_kwargs={}, top_ranked={name: ["nowhere"]}
        )


@pytest.mark.parametrize("wrapper", WRAPPERS)
@pytest.mark.parametrize("query_field", ["text", "query"])
def test_instructions_of_queries_reach_the_prompt(
    wrapper, query_field, pico, evaluate, make_task, data, expected
):
    model = wrapper("pico", dtype="float32", query_field=query_field)
    _, predictions = evaluate(model, make_task("InstructionReranking", instructions=True))
    queries = dict(data.queries)
    if query_field == "text":  # what the official wrapper reads: mteb appends the instruction
        queries = {name: f"{text} {data.instructions[name]}" for name, text in queries.items()}
    wanted = direct_run(pico, data, data.candidates, data.instructions, queries)
    assert_same_run(predictions, wanted)
    assert all(predictions[name] != pytest.approx(expected[name], abs=1e-3) for name in expected)


@pytest.mark.parametrize("given", ["dictionary", "file", "published"])
def test_instructions_of_tasks_reach_the_prompt(given, pico, evaluate, make_task, data, tmp_path):
    wording = published_instructions("beir").find("SciFact").text
    assert wording != pico.default_instruction
    file = tmp_path / "mine.json"
    file.write_text(json.dumps({"instructions": [{"task": "SciFact", "instruction": wording}]}))
    instructions = {"dictionary": {"SciFact": wording}, "file": file, "published": "beir"}[given]
    model = KaLMCrossEncoder(
        "pico", dtype="float32", instructions=instructions, instruction="Other."
    )
    assert model.mteb_model_meta.experiment_kwargs["instruction"] == "Other."
    assert model.mteb_model_meta.model_name_with_experiment != "kalm-reranker/pico"
    _, predictions = evaluate(model, make_task(name="SciFact"))
    wanted = direct_run(pico, data, data.candidates, dict.fromkeys(data.queries, wording))
    assert_same_run(predictions, wanted)


def test_probabilities_are_those_of_the_margins(evaluate, make_task, expected):
    model = KaLMCrossEncoder("pico", dtype="float32", scores="probability")
    _, predictions = evaluate(model, make_task())
    for name, scores in expected.items():
        wanted = {one: score_from_margin(margin) for one, margin in scores.items()}
        assert predictions[name] == pytest.approx(wanted, abs=1e-4)


def test_mteb_measures_in_float32_which_ties_probabilities_but_not_margins():
    # Why margins are the default: three good passages, the relevant one first.
    import pytrec_eval

    judge = pytrec_eval.RelevanceEvaluator({"q": {"a": 1, "b": 0, "c": 0}}, {"ndcg_cut.10"})
    margins = {"a": 18.5, "b": 18.0, "c": 17.5}
    by_margin = judge.evaluate({"q": margins})["q"]["ndcg_cut_10"]
    probabilities = {name: score_from_margin(margin) for name, margin in margins.items()}
    by_probability = judge.evaluate({"q": probabilities})["q"]["ndcg_cut_10"]
    assert by_margin == 1.0
    assert by_probability == 0.5


def test_inputs_must_pair_up(make_task):
    model = KaLMCrossEncoder("pico", dtype="float32")
    with pytest.raises(InvalidPairError, match="got 2 queries and 1 documents"):
        model.predict(
            [{"text": ["a", "b"]}],
            [{"text": ["c"]}],
            task_metadata=make_task().metadata,
            hf_split="test",
            hf_subset="default",
        )


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"scores": "logits"}, "scores must be one of margin, probability; got 'logits'"),
        ({"states_folder": 3}, "states_folder must be a path or None; got 3"),
        ({"query_field": "title"}, "query_field must be one of text, query; got 'title'"),
        ({"chunks": 4}, "no setting 'chunks'"),
        ({"instruction": " "}, "instruction must be a non-empty string or None; got ' '"),
        ({"instructions": ["a"]}, r"instructions must be beir, .* or a dictionary.*got \['a'\]"),
        ({"instructions": {"SciFact": ""}}, r"instructions\['SciFact'\] must be a non-empty"),
    ],
)
def test_settings_are_checked(settings, message):
    with pytest.raises(InvalidOptionError, match=message):
        KaLMCrossEncoder("pico", **settings)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"num_candidates": 0}, "num_candidates"),
        ({"encode": "all"}, "encode must be one of candidates, corpus; got 'all'"),
    ],
)
def test_settings_of_the_search_are_checked(settings, message):
    with pytest.raises(InvalidOptionError, match=message):
        KaLMSearch("pico", **settings)


def test_a_text_under_several_ids_is_encoded_once_and_scores_alike(make_task):
    model = KaLMCrossEncoder("pico", dtype="float32")
    place = {"task_metadata": make_task().metadata, "hf_split": "test", "hf_subset": "default"}
    queries = [{"text": ["gravity", "gravity"]}, {"text": ["Beijing", "gravity"]}]
    documents = [{"text": ["Bodies attract.", "A city."]}, {"text": ["A city.", "Bodies attract."]}]
    scores = model.predict(queries, documents, **place)
    assert model.reranker.stats.passages_encoded == 2
    assert scores.shape == (4,)
    assert scores.dtype == "float64"
    assert scores[0] == scores[3]
    assert len({*scores}) == 3
    assert model.predict([], [], **place).shape == (0,)


def test_states_of_other_settings_are_refused(make_task, tmp_path):
    place = {"task_metadata": make_task().metadata, "hf_split": "test", "hf_subset": "default"}
    pair = [{"text": ["gravity"]}], [{"text": ["Bodies attract."]}]
    settings = {"dtype": "float32", "states_folder": tmp_path}
    KaLMCrossEncoder("pico", **settings).predict(*pair, **place)
    shorter = KaLMCrossEncoder("pico", **settings, max_length=128)
    with pytest.raises(StoreExistsError, match=r"max_length=512.*max_length=128.*another folder"):
        shorter.predict(*pair, **place)
