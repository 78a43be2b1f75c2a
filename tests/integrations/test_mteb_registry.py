"""Descriptions for mteb: what it files results under, and what it loads."""

import shutil

import pytest

from kalm_reranker import KaLMReranker
from kalm_reranker.checkpoints import KNOWN_MODELS, resolve_checkpoint
from kalm_reranker.errors import InvalidOptionError
from kalm_reranker.integrations.mteb_model import KaLMCrossEncoder
from kalm_reranker.integrations.mteb_registry import model_meta, register_models
from kalm_reranker.integrations.mteb_search import KaLMSearch


def test_the_wrappers_follow_the_protocols(mteb):
    from mteb.models import CrossEncoderProtocol, EncoderProtocol, SearchProtocol

    cross_encoder, search = KaLMCrossEncoder("pico"), KaLMSearch("pico")
    assert isinstance(cross_encoder, CrossEncoderProtocol)
    assert isinstance(search, SearchProtocol)
    # mteb asks in the order encoder, cross-encoder, search: neither may pass for another.
    assert not isinstance(cross_encoder, SearchProtocol | EncoderProtocol)
    assert not isinstance(search, CrossEncoderProtocol | EncoderProtocol)


@pytest.mark.parametrize("size", ["Nano", "Small", "Large"])
def test_official_models_keep_what_mteb_knows_of_them(mteb, size):
    name = f"KaLM-Embedding/KaLM-Reranker-V1-{size}"
    theirs, ours = mteb.get_model_meta(name), model_meta(size.lower())
    for field in ("name", "revision", "languages", "n_parameters", "training_datasets", "license"):
        assert getattr(ours, field) == getattr(theirs, field)
    assert ours.loader is KaLMCrossEncoder
    assert ours.loader_kwargs == {}
    assert ours.experiment_kwargs is None
    assert theirs.loader is not KaLMCrossEncoder


def test_every_known_model_has_a_description(mteb):
    names = {name: model_meta(name).name for name in KNOWN_MODELS}
    assert names["pico"] == "kalm-reranker/pico"
    assert all(names[name] == known.hub_id for name, known in KNOWN_MODELS.items() if known.hub_id)


def test_what_changes_scores_names_an_experiment(mteb, tmp_path):
    meta = model_meta("nano", compression_ratio=16, states_folder=str(tmp_path), threads=2)
    assert meta.experiment_kwargs == {"compression_ratio": 16}
    assert meta.loader_kwargs == {"states_folder": str(tmp_path), "threads": 2}


@pytest.mark.parametrize("protocol", ["cross-encoder", "search"])
def test_mteb_loads_and_runs_a_description(mteb, protocol, make_task, evaluate, tmp_path):
    meta = model_meta(
        "pico",
        protocol=protocol,
        dtype="float32",
        compression_ratio=8,
        states_folder=tmp_path / "states",
    )
    model = meta.load_model()
    assert model.reranker.compression_ratio == 8
    # What mteb files its results under is the same for a model that was made directly.
    direct = type(model)("pico", dtype="float32", compression_ratio=8).mteb_model_meta
    assert hash(model.mteb_model_meta) == hash(meta) == hash(direct)
    assert meta.model_name_with_experiment == direct.model_name_with_experiment
    by_meta, _ = evaluate(meta, make_task())
    by_model, _ = evaluate(model, make_task())
    assert by_meta["ndcg_at_10"] == by_model["ndcg_at_10"]


def test_mteb_finds_its_results_again(mteb, make_task, tmp_path):
    cache = mteb.ResultCache(tmp_path / "results")
    meta = model_meta("pico", compression_ratio=8, states_folder=tmp_path / "states")
    settings = {"cache": cache, "co2_tracker": False, "show_progress_bar": False}
    model = meta.load_model()
    first = mteb.evaluate(model, make_task(), **settings)
    assert model.reranker.stats.pairs_scored
    place = tmp_path / "results" / "results" / "kalm-reranker__pico" / meta.revision
    (file,) = place.rglob("LocalClaims.json")
    assert "compression_ratio_8" in str(file)  # not where results of the plain model would be
    model = meta.load_model()
    again = mteb.evaluate(model, make_task(), **settings)
    assert model.reranker.stats.pairs_scored == 0
    assert again.task_results[0].get_score() == first.task_results[0].get_score()


def test_registered_models_are_got_by_name(mteb, monkeypatch):
    from mteb.models.model_implementations import MODEL_REGISTRY

    for name in ("kalm-reranker/pico", "KaLM-Embedding/KaLM-Reranker-V1-Nano"):
        if name in MODEL_REGISTRY:
            monkeypatch.setitem(MODEL_REGISTRY, name, MODEL_REGISTRY[name])
    assert register_models("pico", "nano", protocol="search") == [
        "kalm-reranker/pico",
        "KaLM-Embedding/KaLM-Reranker-V1-Nano",
    ]
    try:
        assert isinstance(mteb.get_model("kalm-reranker/pico"), KaLMSearch)
        assert mteb.get_model_meta("KaLM-Embedding/KaLM-Reranker-V1-Nano").loader is KaLMSearch
    finally:
        del MODEL_REGISTRY["kalm-reranker/pico"]


def test_other_weights_under_one_name_are_another_revision(mteb, tmp_path):
    folder = tmp_path / "mine"
    shutil.copytree(resolve_checkpoint("pico").directory, folder)
    one = model_meta(str(folder))
    assert one.name == "kalm-reranker/mine"
    assert one.revision == KaLMReranker("pico").provenance.model_fingerprint
    assert one.load_model().mteb_model_meta.revision == one.revision
    config = folder / "config.json"
    config.write_text(config.read_text().replace('"sliding_window"', '"sliding_window_"', 1))
    assert model_meta(str(folder)).revision != one.revision


def test_names_have_two_parts(mteb):
    assert model_meta("pico", name="me/pico").name == "me/pico"
    with pytest.raises(InvalidOptionError, match="name must be organization/model; got 'pico'"):
        model_meta("pico", name="pico")


def test_protocols_are_checked(mteb):
    with pytest.raises(InvalidOptionError, match="one of cross-encoder, search; got 'encoder'"):
        model_meta("pico", protocol="encoder")
