"""Downloads, through the real hub library, from a hub on loopback."""

import json
import os
import re
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from tests.checkpoints.loopback_hub import LoopbackHub
from tests.checkpoints.tiny_checkpoints import checkpoint_files, weights

MODEL = "organisation/model"
NANO = "KaLM-Embedding/KaLM-Reranker-V1-Nano"
NANO_R2 = "KaLM-Embedding/KaLM-Reranker-V1-Nano-R2"
# What repositories hold besides, none of which may be fetched.
CLUTTER = {
    "README.md": b"# model",
    "pytorch_model.bin": b"\x80\x02.",
    "model.onnx": b"0" * 1000,
    "modeling_evil.py": b"raise SystemExit",
}
NEEDED = {"config.json", "tokenizer.json", "tokenizer_config.json", "model.safetensors"}
RUNNER = Path(__file__).with_name("resolve_in_process.py")


@pytest.fixture
def hub():
    hub = LoopbackHub()
    hub.start()
    yield hub
    hub.stop()


@pytest.fixture
def resolve(hub, tmp_path):
    """Resolves a model in a process that sees only this hub and an own, empty cache."""

    def run(model=MODEL, *, env=None, **options):
        inherited = {
            name: value
            for name, value in os.environ.items()
            if not name.startswith(("HF_", "HUGGING")) and "proxy" not in name.lower()
        }
        settings = {
            "HF_ENDPOINT": hub.endpoint,
            "HF_HOME": str(tmp_path / "hf"),
            "HF_HUB_DISABLE_TELEMETRY": "1",
            "HF_HUB_DISABLE_XET": "1",
            "HF_HUB_DISABLE_PROGRESS_BARS": "1",
        }
        result = subprocess.run(
            [sys.executable, str(RUNNER), model, json.dumps(options)],
            env=inherited | settings | (env or {}),
            capture_output=True,
            text=True,
            timeout=120,
        )
        assert result.returncode == 0, result.stderr
        return json.loads(result.stdout.splitlines()[-1]) | {"log": result.stderr}

    return run


def fetched(requests):
    return sorted(file for method, file in requests if method == "GET")


def asked(requests):
    return {file for _, file in requests}


def test_only_needed_files_are_fetched(hub, resolve):
    _, commit = hub.add(MODEL, checkpoint_files() | CLUTTER)
    outcome = resolve()
    assert (outcome["name"], outcome["source"]) == (MODEL, "hub")
    assert outcome["revision"] == commit
    assert outcome["weight_files"] == ["model.safetensors"]
    assert set(outcome["files"]) == NEEDED
    requests = hub.take_requests()
    assert fetched(requests) == sorted(NEEDED)  # each once
    assert asked(requests) == NEEDED | {"reranker_config.json"}


def test_only_the_shards_of_the_index_are_fetched(hub, resolve):
    files = checkpoint_files(num_shards=3)
    stray = {"model-00004-of-00004.safetensors": b"of another save"}
    hub.add(MODEL, files | stray | CLUTTER)
    outcome = resolve()
    assert len(outcome["weight_files"]) == 3
    requests = hub.take_requests()
    assert fetched(requests) == sorted(files)
    assert asked(requests) == set(files) | {"reranker_config.json", "model.safetensors"}


def test_the_settings_file_is_fetched_where_there_is_one(hub, resolve):
    hub.add(MODEL, checkpoint_files(settings={"template_version": 1, "max_length": 99}))
    assert resolve()["max_length"] == 99


def test_a_complete_cache_costs_one_head_request(hub, resolve):
    hub.add(MODEL, checkpoint_files())
    first = resolve()
    hub.take_requests()
    assert resolve()["weights"] == first["weights"]
    assert hub.take_requests() == [("HEAD", "config.json")]


def test_a_cached_commit_costs_no_request(hub, resolve):
    _, commit = hub.add(MODEL, checkpoint_files())
    resolve()
    hub.take_requests()
    assert resolve(revision=commit)["revision"] == commit
    assert hub.take_requests() == []


def test_a_new_commit_is_taken_whole(hub, resolve):
    repository, old = hub.add(MODEL, checkpoint_files())
    before = resolve()
    new = repository.commit(checkpoint_files() | {"model.safetensors": weights(2.0)})
    hub.take_requests()
    after = resolve()
    assert (before["revision"], after["revision"]) == (old, new)
    assert before["weights"] != after["weights"]
    # Unchanged files are known by their ETag.
    assert fetched(hub.take_requests()) == ["model.safetensors"]
    assert resolve(revision=old)["weights"] == before["weights"]


def test_branches_and_tags_are_revisions(hub, resolve):
    repository, _ = hub.add(MODEL, checkpoint_files())
    tagged = repository.commit(checkpoint_files() | {"model.safetensors": weights(5.0)}, "v2")
    assert resolve(revision="v2")["revision"] == tagged


def test_short_names_stand_for_repositories(hub, resolve):
    hub.add(NANO, checkpoint_files())
    hub.add(NANO_R2, checkpoint_files())
    outcome = resolve("nano")
    assert outcome["name"] == NANO
    assert outcome["trained_ratios"][-1] == 32
    assert outcome["on_disk"]["nano"] > 0
    assert outcome["on_disk"]["nano-r2"] is None
    assert resolve("nano-r2")["trained_ratios"][-1] == 128


def test_the_cache_directory_can_be_chosen(hub, resolve, tmp_path):
    hub.add(NANO, checkpoint_files())
    outcome = resolve("nano", cache_dir=str(tmp_path / "other"))
    assert outcome["on_disk"]["nano"] is None  # not in the default cache
    assert any((tmp_path / "other").rglob("model.safetensors"))
    assert resolve("nano", cache_dir=str(tmp_path / "other"), local_files_only=True)["revision"]


@pytest.mark.parametrize("num_shards", [1, 2])
@pytest.mark.parametrize(
    ("env", "options"), [({"HF_HUB_OFFLINE": "1"}, {}), ({}, {"local_files_only": True})]
)
def test_offline_after_a_download(hub, resolve, env, options, num_shards):
    hub.add(MODEL, checkpoint_files(num_shards=num_shards))
    first = resolve()
    hub.take_requests()
    outcome = resolve(env=env, **options)
    assert outcome["weights"] == first["weights"]
    assert hub.take_requests() == []


def test_a_hub_that_went_away_is_logged_and_the_cache_used(hub, resolve):
    _, commit = hub.add(MODEL, checkpoint_files())
    first = resolve()
    hub.stop()
    outcome = resolve()
    assert outcome["weights"] == first["weights"]
    assert f"{MODEL}: the hub did not name its newest commit" in outcome["log"]
    assert f"using the cached commit {commit}" in outcome["log"]
    assert outcome["elapsed_s"] < 5


def test_an_expired_token_is_logged_and_the_cache_used(hub, resolve):
    repository, _ = hub.add(MODEL, checkpoint_files())
    first = resolve()
    repository.token = "hf_new"
    outcome = resolve(token="hf_old")
    assert outcome["weights"] == first["weights"]
    assert "the hub did not name its newest commit (HTTP status 401)" in outcome["log"]
    assert "hf_old" not in outcome["log"]


def test_a_settings_file_that_may_be_missing_from_the_cache_is_logged(hub, resolve, tmp_path):
    # As another program would leave the cache: no settings file, no mark that there is none.
    files = checkpoint_files(settings={"template_version": 1, "max_length": 99})
    for hub_id in (MODEL, NANO):
        hub.add(hub_id, files)
        resolve(hub_id)
    for path in (tmp_path / "hf").rglob("reranker_config.json"):
        path.unlink()
    offline = {"HF_HUB_OFFLINE": "1"}
    assert "reranker_config.json is not in the cache" in resolve(env=offline)["log"]
    assert resolve("nano", env=offline)["log"] == ""  # official models have none


def assert_says_what_to_do_instead(outcome, model=MODEL):
    assert outcome["error"] == "CheckpointUnavailableError"
    assert f"hf download {model} --local-dir" in outcome["hint"]
    assert '"pico"' in outcome["hint"]


def test_an_unreachable_hub_fails_within_seconds(resolve):
    with socket.socket() as closed:  # bound but not listening: connections are refused
        closed.bind(("127.0.0.1", 0))
        endpoint = f"http://127.0.0.1:{closed.getsockname()[1]}"
        outcome = resolve("nano", env={"HF_ENDPOINT": endpoint})
    assert_says_what_to_do_instead(outcome, NANO)
    assert "config.json" in outcome["message"]
    assert "refused" in outcome["message"]
    assert outcome["elapsed_s"] < 5


def test_a_hub_that_does_not_answer_fails_after_the_timeout(resolve):
    with socket.socket() as silent:
        silent.bind(("127.0.0.1", 0))
        silent.listen(5)  # accepts, never answers
        endpoint = f"http://127.0.0.1:{silent.getsockname()[1]}"
        env = {"HF_ENDPOINT": endpoint, "HF_HUB_ETAG_TIMEOUT": "1"}
        outcome = resolve(env=env)
    assert_says_what_to_do_instead(outcome)
    assert outcome["elapsed_s"] < 5


@pytest.mark.parametrize(
    ("env", "options"), [({"HF_HUB_OFFLINE": "1"}, {}), ({}, {"local_files_only": True})]
)
def test_offline_without_a_download(hub, resolve, env, options):
    hub.add(MODEL, checkpoint_files())
    outcome = resolve(env=env, **options)
    assert_says_what_to_do_instead(outcome)
    assert hub.take_requests() == []


def test_a_download_that_broke_off_is_not_on_disk_and_is_finished_later(hub, resolve, tmp_path):
    hub.add(NANO, checkpoint_files(num_shards=2))
    first = resolve("nano")
    (gone,) = (tmp_path / "hf").rglob("model-00002-of-00002.safetensors")
    gone.resolve().unlink()
    gone.unlink()
    outcome = resolve("nano", env={"HF_HUB_OFFLINE": "1"})
    assert outcome["on_disk"]["nano"] is None
    assert_says_what_to_do_instead(outcome, NANO)
    assert gone.name in outcome["message"]
    hub.take_requests()
    assert resolve("nano")["weights"] == first["weights"]
    assert fetched(hub.take_requests()) == [gone.name]


@pytest.mark.parametrize(
    ("error", "message", "hint"),
    [
        (
            (404, "RepoNotFound"),
            "no directory 'organisation/model', and the hub has no model repo",
            "hf auth login",
        ),
        ((401, ""), "refused access to organisation/model .*401", "token"),
        ((403, "GatedRepo"), "organisation/model is gated", "Accept the terms"),
        ((401, "GatedRepo"), "organisation/model is gated", "Accept the terms"),
        ((403, ""), "refused access to organisation/model .*403", "token"),
    ],
)
def test_no_access(hub, resolve, error, message, hint):
    repository, _ = hub.add(MODEL, checkpoint_files())
    repository.error = error
    outcome = resolve()
    assert outcome["error"] == "CheckpointNotFoundError"
    assert re.search(message, outcome["message"])
    assert hint in outcome["hint"]
    assert outcome["elapsed_s"] < 5


def test_an_unknown_revision(hub, resolve):
    hub.add(MODEL, checkpoint_files())
    outcome = resolve(revision="v9")
    assert outcome["error"] == "CheckpointNotFoundError"
    assert outcome["message"] == f"{MODEL} has no revision 'v9'."


def test_an_unexpected_status_is_reported(hub, resolve):
    repository, _ = hub.add(MODEL, checkpoint_files())
    repository.error = (418, "")
    outcome = resolve()
    assert_says_what_to_do_instead(outcome)
    assert "HTTP status 418" in outcome["message"]


@pytest.mark.parametrize("how", ["argument", "environment"])
def test_a_token_opens_a_private_repository(hub, resolve, how):
    repository, _ = hub.add(MODEL, checkpoint_files())
    repository.token = "hf_secret"
    assert resolve()["error"] == "CheckpointNotFoundError"
    outcome = (
        resolve(token="hf_secret") if how == "argument" else resolve(env={"HF_TOKEN": "hf_secret"})
    )
    assert outcome["weight_files"] == ["model.safetensors"]


def test_false_hides_the_token_of_the_environment(hub, resolve):
    repository, _ = hub.add(MODEL, checkpoint_files())
    repository.token = "hf_secret"
    outcome = resolve(env={"HF_TOKEN": "hf_secret"}, token=False)
    assert outcome["error"] == "CheckpointNotFoundError"


@pytest.mark.parametrize("token", ["hf_secret\n", "hf secret", "hf_sécret", ""])
def test_a_token_that_cannot_be_one_is_refused_and_not_shown(hub, resolve, token):
    outcome = resolve(token=token)
    assert outcome["error"] == "InvalidOptionError"
    assert "cret" not in outcome["message"] + outcome["log"]
    assert hub.take_requests() == []


@pytest.mark.parametrize("file", ["config.json", "tokenizer.json", "model.safetensors"])
def test_a_repository_without_a_needed_file(hub, resolve, file):
    files = checkpoint_files() | CLUTTER
    del files[file]
    hub.add(MODEL, files)
    outcome = resolve()
    assert outcome["error"] == "InvalidCheckpointError"
    assert f"has no {file}" in outcome["message"]
    assert "Only safetensors weights are read" in outcome["message"]
    assert "pytorch_model.bin" not in asked(hub.take_requests())


def test_a_missing_shard_is_named(hub, resolve):
    files = checkpoint_files(num_shards=2)
    del files["model-00002-of-00002.safetensors"]
    hub.add(MODEL, files)
    outcome = resolve()
    assert outcome["error"] == "InvalidCheckpointError"
    assert "has no model-00002-of-00002.safetensors" in outcome["message"]


def test_a_hostile_index_fetches_nothing_outside(hub, resolve, tmp_path):
    files = checkpoint_files(num_shards=2)
    index = {"weight_map": {"a": "../../../evil.safetensors"}}
    files["model.safetensors.index.json"] = json.dumps(index).encode()
    hub.add(MODEL, files)
    outcome = resolve()
    assert outcome["error"] == "InvalidCheckpointError"
    assert "must be the plain name of a .safetensors file" in outcome["message"]
    assert not any("evil" in file for file in asked(hub.take_requests()))
    assert not any(tmp_path.rglob("*evil*"))


@pytest.mark.slow
def test_a_busy_hub_is_asked_again_before_giving_up(hub, resolve):
    repository, _ = hub.add(MODEL, checkpoint_files())
    repository.error = (503, "")
    assert_says_what_to_do_instead(resolve())
    assert len(hub.take_requests()) > 3
