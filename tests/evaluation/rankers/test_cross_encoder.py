import json
import shutil

import pytest
from safetensors.torch import load_file, save_file

from kalm_reranker.errors import (
    CheckpointNotFoundError,
    CheckpointUnavailableError,
    InvalidCheckpointError,
    InvalidOptionError,
    MissingExtraError,
    NonFiniteScoreError,
)
from kalm_reranker.evaluation.rankers.cross_encoder import CrossEncoderRanker
from tests.evaluation.rankers.scored import assert_same_scores, scored
from tests.evaluation.rankers.tiny_models import (
    POSITIONS,
    save_chat_reranker,
    save_cross_encoder,
    save_encoder,
)


def logits(folder, task, prompts=None, **options):
    """The scores that sentence-transformers itself gives."""
    import torch
    from sentence_transformers import CrossEncoder

    model = CrossEncoder(str(folder), device="cpu", local_files_only=True, **options)
    run = {}
    for query_id, found in task.candidates.items():
        pairs = [
            ((prompts or {}).get(query_id, "") + task.queries[query_id], task.passages[key])
            for key in found
        ]
        values = model.predict(pairs, prompt="", activation_fn=torch.nn.Identity())
        run[query_id] = dict(zip(found, map(float, values), strict=True))
    return run


def test_scores_are_the_logits_of_sentence_transformers(cross_encoder, make_task):
    task = make_task()
    ranker = CrossEncoderRanker(str(cross_encoder), device="cpu", batch_size=3)
    found = scored(ranker, task)
    assert_same_scores(found, logits(cross_encoder, task))
    assert any(not 0 <= score <= 1 for scores in found.values() for score in scores.values())
    assert found["q2"]["c"] == pytest.approx(found["q2"]["f"])  # the same text
    assert ranker.score("q1", "red fox", []) == {}
    assert ranker.bytes_per_passage() is None
    assert ranker.notes == ()
    ranker.close()
    ranker.close()


def test_a_checkpoint_that_transformers_saved_is_one_too(models, make_task):
    plain = save_encoder(models / "classifier", num_labels=1)
    task = make_task()
    assert_same_scores(
        scored(CrossEncoderRanker(str(plain), device="cpu"), task), logits(plain, task)
    )


def test_what_is_needed_to_repeat_it_is_told(cross_encoder, models):
    info = CrossEncoderRanker(str(cross_encoder), max_length=24, batch_size=8).info
    assert (info.name, info.kind, info.model) == ("cross", "cross-encoder", str(cross_encoder))
    assert info.settings["max_length"] == 24
    assert info.settings["score"] == "logit"
    other = save_cross_encoder(models / "other", seed=1)
    assert len(info.settings["fingerprint"]) == 32
    assert (
        CrossEncoderRanker(str(other)).info.settings["fingerprint"]
        != (info.settings["fingerprint"])
    )
    assert CrossEncoderRanker(str(other), name="mine").info.name == "mine"


def test_pairs_are_cut_at_max_length(cross_encoder, make_task):
    texts = {"a": "gravity attracts bodies red fox", "b": "gravity attracts bodies the capital"}
    task = make_task({"q1": "ab"}, passages=texts)
    whole = scored(CrossEncoderRanker(str(cross_encoder), device="cpu"), task)["q1"]
    assert abs(whole["a"] - whole["b"]) > 1e-3
    # [CLS] what attracts bodies [SEP] gravity attracts bodies [SEP]
    cut = scored(CrossEncoderRanker(str(cross_encoder), device="cpu", max_length=9), task)["q1"]
    assert cut["a"] == pytest.approx(cut["b"], abs=1e-6)
    assert_same_scores({"q1": cut}, logits(cross_encoder, task, max_length=9))


def test_instructions_take_the_place_of_the_models_own(models, make_task):
    own = "Instruct: find bodies\nQuery: "
    folder = save_cross_encoder(models / "instructed", prompt=own)
    plain = make_task()
    assert_same_scores(
        scored(CrossEncoderRanker(str(folder), device="cpu"), plain),
        logits(folder, plain, dict.fromkeys(plain.queries, own)),
    )
    task = make_task(instruction="the capital", query_instructions={"q2": "red fox"})
    ranker = CrossEncoderRanker(str(folder), device="cpu")
    prompts = {"q1": "Instruct: the capital\nQuery: ", "q2": "Instruct: red fox\nQuery: "}
    found = scored(ranker, task)
    assert_same_scores(found, logits(folder, task, prompts))
    assert ranker.notes == ()
    assert found != scored(ranker, plain)


def test_a_model_without_such_a_prompt_is_given_none_and_that_is_told(cross_encoder, make_task):
    ranker = CrossEncoderRanker(str(cross_encoder), device="cpu")
    expected = scored(ranker, make_task())
    assert scored(ranker, make_task(instruction="find bodies")) == expected
    assert ranker.notes == ("cross has no prompt that takes an instruction; it got none.",)
    ranker.prepare(make_task(query_instructions={"q1": "find bodies"}))
    assert len(ranker.notes) == 1


CONVERSATION = (
    "{% for m in messages %}{% if m['role'] == 'system' %}find {% endif %}"
    "{{ m['content'] }} : {% endfor %}"
)


def test_a_model_that_reads_a_system_message_gets_the_instruction_as_that(models, make_task):
    import torch
    from sentence_transformers import CrossEncoder

    folder = save_chat_reranker(models / "chat", template=CONVERSATION)
    task = make_task({"q1": "ab"}, instruction="the capital")
    ranker = CrossEncoderRanker(str(folder), device="cpu")
    found = scored(ranker, task)["q1"]
    assert ranker.notes == ()
    model = CrossEncoder(str(folder), device="cpu", local_files_only=True)
    pairs = [(task.queries["q1"], task.passages[key]) for key in "ab"]
    read = model.tokenizer.decode(model.preprocess(pairs, prompt="the capital")["input_ids"][0])
    assert read.replace("[PAD] ", "").startswith("find the capital : what ")
    expected = model.predict(pairs, prompt="the capital", activation_fn=torch.nn.Identity())
    assert list(found.values()) == pytest.approx(expected.tolist(), abs=1e-5)
    assert found != scored(ranker, make_task({"q1": "ab"}))["q1"]
    assert ranker.info.settings["dtype"] == "float32"


def test_a_template_without_a_system_message_gets_none(models, make_task):
    template = "system {% for m in messages %}{{ m['content'] }} : {% endfor %}"
    folder = save_chat_reranker(models / "chat-without", template=template)
    ranker = CrossEncoderRanker(str(folder), device="cpu")
    expected = scored(ranker, make_task({"q1": "ab"}))
    assert scored(ranker, make_task({"q1": "ab"}, instruction="the capital")) == expected
    assert len(ranker.notes) == 1


@pytest.mark.parametrize(
    ("kind", "message"),
    [
        ("embedding", r"saved as SentenceTransformer.*Give it as embedding:"),
        ("late_interaction", r"saved as MultiVectorEncoder.*Give it as late-interaction:"),
    ],
)
def test_models_of_other_kinds_are_refused(request, kind, message):
    folder = request.getfixturevalue(kind)
    with pytest.raises(InvalidCheckpointError, match=message):
        CrossEncoderRanker(str(folder))


def test_weights_without_a_head_are_refused(models):
    plain = save_encoder(models / "headless")
    with pytest.raises(InvalidCheckpointError, match="BertModel, which lack the head"):
        CrossEncoderRanker(str(plain))


def test_a_model_of_several_classes_is_refused(models, make_task):
    folder = save_cross_encoder(models / "classes", num_labels=3)
    with pytest.raises(InvalidCheckpointError, match="gives 3 values for a pair"):
        CrossEncoderRanker(str(folder), device="cpu").prepare(make_task())


def test_more_tokens_than_the_model_has_positions_for_are_refused(cross_encoder, make_task):
    with pytest.raises(InvalidOptionError, match=f"max_length must be at most {POSITIONS}"):
        CrossEncoderRanker(str(cross_encoder), max_length=POSITIONS + 1).prepare(make_task())


@pytest.mark.parametrize("options", [{"max_length": 0}, {"batch_size": 0}, {"batch_size": 1.5}])
def test_numbers_are_positive(cross_encoder, options):
    with pytest.raises(InvalidOptionError, match="must be a positive integer"):
        CrossEncoderRanker(str(cross_encoder), **options)


def test_scores_that_are_no_numbers_are_refused(cross_encoder, make_task, tmp_path):
    folder = shutil.copytree(cross_encoder, tmp_path / "broken")
    weights = load_file(folder / "model.safetensors")
    weights["classifier.bias"] = weights["classifier.bias"] * float("nan")
    save_file(weights, folder / "model.safetensors", metadata={"format": "pt"})
    ranker = CrossEncoderRanker(str(folder), device="cpu")
    ranker.prepare(make_task())
    with pytest.raises(NonFiniteScoreError, match=r"broken made NaN or infinite scores for .*'q7'"):
        ranker.score("q7", "red fox", ["a"])


def test_models_that_cannot_be_loaded_are_named(cross_encoder, make_task, tmp_path):
    folder = shutil.copytree(cross_encoder, tmp_path / "copy")
    modules = json.loads((folder / "modules.json").read_text())
    modules[0]["type"] = "custom.Module"
    (folder / "modules.json").write_text(json.dumps(modules))
    (folder / "custom.py").write_text("raise SystemExit('was run')")
    with pytest.raises(InvalidCheckpointError, match="cannot be loaded as a cross-encoder model"):
        CrossEncoderRanker(str(folder)).prepare(make_task())
    (folder / "config_sentence_transformers.json").write_text("[")
    with pytest.raises(InvalidCheckpointError, match="cannot be read as JSON"):
        CrossEncoderRanker(str(folder))
    with pytest.raises(InvalidCheckpointError, match="no known architecture"):
        CrossEncoderRanker(str(tmp_path))
    with pytest.raises(CheckpointNotFoundError, match="no cross-encoder model 'nowhere'"):
        CrossEncoderRanker("nowhere")


def test_a_model_that_is_not_in_the_cache_when_offline(monkeypatch, tmp_path):
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path))
    with pytest.raises(CheckpointUnavailableError, match="org/name is not in the cache"):
        CrossEncoderRanker("org/name")


def test_a_release_without_the_class_is_told(monkeypatch, late_interaction):
    import sentence_transformers

    from kalm_reranker.evaluation.rankers.late_interaction import LateInteractionRanker

    monkeypatch.delattr(sentence_transformers, "MultiVectorEncoder")
    with pytest.raises(MissingExtraError, match=r"MultiVectorEncoder.*release 6\.2 has it"):
        LateInteractionRanker(str(late_interaction))
