"""`reranker_config.json`: read, defaulted, refused."""

import json

import pytest

from kalm_reranker import prompts
from kalm_reranker.checkpoints.settings import CascadeSettings, RerankerSettings, read_settings
from kalm_reranker.errors import InvalidCheckpointError


def read(directory, values):
    (directory / "reranker_config.json").write_text(json.dumps(values), encoding="utf-8")
    return read_settings(directory)


def test_without_a_file_the_official_defaults_hold(tmp_path):
    settings = read_settings(tmp_path)
    assert settings == RerankerSettings(
        template_version=prompts.TEMPLATE_VERSION,
        system_instruction=prompts.DEFAULT_SYSTEM_INSTRUCTION,
        default_instruction=prompts.DEFAULT_INSTRUCTION,
        max_length=1024,
        query_max_length=512,
        trained_ratios=(1, 2, 4, 8, 16, 32),
        default_ratio=4,
        cascade=CascadeSettings(coarse_ratio=32, fine_ratio=None, fine_count=20),
        blend_with_first_stage=False,
    )


def test_every_key_is_read(tmp_path):
    settings = read(
        tmp_path,
        {
            "template_version": 1,
            "system_instruction": "",
            "default_instruction": "Finde die Antwort: größer?",
            "max_length": 10,
            "query_max_length": 5,
            "trained_ratios": [2, 4, 32],
            "default_ratio": 2,
            "cascade": {"coarse_ratio": 32, "fine_ratio": 2, "fine_count": 20},
            "blend_with_first_stage": True,
        },
    )
    assert settings == RerankerSettings(
        system_instruction="",
        default_instruction="Finde die Antwort: größer?",
        max_length=10,
        query_max_length=5,
        trained_ratios=(2, 4, 32),
        default_ratio=2,
        cascade=CascadeSettings(coarse_ratio=32, fine_ratio=2, fine_count=20),
        blend_with_first_stage=True,
    )


def test_a_cascade_may_end_at_whatever_ratio_is_stored(tmp_path):
    cascade = {"coarse_ratio": 32, "fine_ratio": None, "fine_count": 20}
    settings = read(tmp_path, {"template_version": 1, "cascade": cascade})
    assert settings.cascade == CascadeSettings(**cascade)


def test_keys_left_out_take_the_given_defaults(tmp_path):
    defaults = RerankerSettings(trained_ratios=(1, 4, 128))
    (tmp_path / "reranker_config.json").write_text('{"template_version": 1, "max_length": 9}')
    settings = read_settings(tmp_path, defaults=defaults)
    assert settings.max_length == 9
    assert settings.trained_ratios == (1, 4, 128)


def test_null_ratio_means_no_pooling(tmp_path):
    assert read(tmp_path, {"template_version": 1, "default_ratio": None}).default_ratio is None


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({}, r"template_version must be a positive integer; got no such key"),
        ({"template_version": 2}, r"template_version must be 1, .*; got 2"),
        ({"template_version": "1"}, r"template_version must be a positive integer; got '1'"),
        ({"max_lenght": 5}, r"unknown key 'max_lenght'; allowed: template_version, .*max_length"),
        ({"max_length": 0}, r"max_length must be a positive integer; got 0"),
        ({"max_length": 1.5}, r"max_length must be a positive integer; got 1.5"),
        ({"max_length": True}, r"max_length must be a positive integer; got True"),
        ({"max_length": None}, r"max_length must be a positive integer; got None"),
        ({"query_max_length": -1}, r"query_max_length must be a positive integer; got -1"),
        ({"system_instruction": None}, r"system_instruction must be a string.*; got None"),
        ({"default_instruction": "\ud800"}, r"default_instruction must be a string"),
        ({"trained_ratios": []}, r"trained_ratios must be an ascending list.*; got \[\]"),
        ({"trained_ratios": [4, 2]}, r"trained_ratios must be an ascending list.*\[4, 2\]"),
        ({"trained_ratios": [2, 2]}, r"trained_ratios must be an ascending list"),
        ({"trained_ratios": [0, 2]}, r"trained_ratios must be an ascending list"),
        ({"trained_ratios": 4}, r"trained_ratios must be an ascending list.*; got 4"),
        ({"default_ratio": "4"}, r"default_ratio must be a positive integer or null; got '4'"),
        ({"default_ratio": 3}, r"default_ratio must be null or one of trained_ratios .*; got 3"),
        ({"trained_ratios": [8]}, r"default_ratio must be .* \[8\]; got 4"),
        ({"blend_with_first_stage": 1}, r"blend_with_first_stage must be true or false; got 1"),
        ({"cascade": 3}, r"cascade must be null or an object with the keys coarse_ratio"),
        ({"cascade": {}}, r"cascade.coarse_ratio must be a positive integer; got no such key"),
        (
            {"cascade": {"coarse_ratio": 8, "fine_ratio": 3, "fine_count": 1}},
            r"cascade.coarse_ratio must be a multiple of fine_ratio 3, above it; got 8",
        ),
        (
            {"cascade": {"coarse_ratio": 2, "fine_ratio": 2, "fine_count": 1}},
            r"cascade.coarse_ratio must be a multiple of fine_ratio 2, above it; got 2",
        ),
        (
            {"cascade": {"coarse_ratio": 8, "fine_ratio": 0, "fine_count": 1}},
            r"cascade.fine_ratio must be a positive integer or null; got 0",
        ),
        (
            {"cascade": {"coarse_ratio": 8, "fine_ratio": 2, "fine_count": 1, "x": 1}},
            r"unknown key 'cascade.x'; allowed: coarse_ratio, fine_ratio, fine_count",
        ),
    ],
)
def test_bad_values_are_refused_with_file_key_value_and_what_is_allowed(tmp_path, values, message):
    if values:
        values = {"template_version": 1} | values
    with pytest.raises(InvalidCheckpointError, match=message) as caught:
        read(tmp_path, values)
    assert str(tmp_path / "reranker_config.json") in str(caught.value)
