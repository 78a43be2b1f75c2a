"""Names of the model, lists of them, and what a server says of itself."""

from dataclasses import replace

import pytest

from kalm_reranker.server.request_errors import UnknownModelError
from kalm_reranker.server.settings import Limits, ModelSettings, ServerSettings
from kalm_reranker.server.wire.info import Info, render_info
from kalm_reranker.server.wire.model_list import (
    ModelList,
    ServedModel,
    render_model,
    render_models,
)
from kalm_reranker.server.wire.model_names import answered_name, served_names
from tests.server.wire.results import FACTS, assert_fits

NANO = replace(FACTS, name="nano-r2")
HUB_ID = "KaLM-Embedding/KaLM-Reranker-V1-Nano-R2"
PLAIN = ServerSettings()


@pytest.mark.parametrize(
    ("name", "names"),
    [
        ("nano-r2", ("nano-r2", HUB_ID)),
        (HUB_ID, (HUB_ID, "nano-r2")),
        ("pico", ("pico",)),
        ("my-own", ("my-own",)),
    ],
)
def test_a_model_has_its_short_name_and_its_hub_id(name, names):
    assert served_names(replace(FACTS, name=name), PLAIN) == names


@pytest.mark.parametrize(
    ("wanted", "answered"),
    [
        (None, "nano-r2"),
        ("", "nano-r2"),
        ("default/not-specified", "nano-r2"),
        ("nano-r2", "nano-r2"),
        (HUB_ID, HUB_ID),
        (HUB_ID.lower(), HUB_ID.lower()),
        ("rerank-v3.5", "rerank-v3.5"),
    ],
)
def test_known_names_are_answered_by(wanted, answered):
    settings = ServerSettings(served_model_names=("rerank-v3.5",))
    assert answered_name(wanted, NANO, settings) == (answered, None)


def test_other_names_are_unknown_unless_any_will_do():
    with pytest.raises(UnknownModelError, match="'gpt' is not served here; served: nano-r2"):
        answered_name("gpt", NANO, PLAIN)
    name, remark = answered_name("gpt", NANO, ServerSettings(served_model_names=("*",)))
    assert name == "gpt"
    assert "nano-r2" in remark


def test_lists_of_models():
    listed = render_models(NANO, ServerSettings(served_model_names=("x", "*")))
    assert_fits(listed, ModelList)
    assert [model["id"] for model in listed["data"]] == ["nano-r2", HUB_ID, "x"]
    one = render_model(HUB_ID, NANO, PLAIN)
    assert_fits(one, ServedModel)
    assert (one["root"], one["owned_by"], one["max_model_len"]) == (
        *("nano-r2", "kalm-reranker", 1024),
    )
    for name in ("", "x"):
        with pytest.raises(UnknownModelError):
            render_model(name, NANO, PLAIN)


def test_info_shows_limits_and_no_secret_and_no_path(tmp_path):
    settings = ServerSettings(
        api_keys=("top-secret",),
        limits=Limits(max_documents=7),
        model=ModelSettings(model=str(tmp_path), index=tmp_path / "index"),
        read_only=True,
    )
    info = render_info(NANO, settings, {"requests": 3})
    assert_fits(info, Info)
    assert info["model_id"] == "nano-r2"
    assert info["max_client_batch_size"] == info["limits"]["max_documents"] == 7
    assert info["model"]["default_instruction"] == "Count."
    assert info["counts"] == {"requests": 3}
    assert info["authentication"]
    assert info["read_only"]
    assert "reranker" in info["model_type"]
    assert "top-secret" not in str(info)
    assert str(tmp_path) not in str(info)
