import json
import shutil
import warnings
from pathlib import Path

import numpy as np
import pytest

from kalm_reranker.checkpoints import bundled
from kalm_reranker.errors import (
    CheckpointNotFoundError,
    CheckpointUnavailableError,
    InvalidCheckpointError,
    InvalidOptionError,
    MissingExtraError,
    NonFiniteScoreError,
)
from kalm_reranker.search.dense import DenseFirstStage
from kalm_reranker.search.dense_files import model_files
from kalm_reranker.search.dense_model import DENSE_MODELS, DenseModel
from tests.search.feeds import VectorDictFeed

sentence_transformers = pytest.importorskip("sentence_transformers")

PICO = Path(bundled.__file__).parent / "pico"
WIDTH = 16


@pytest.fixture(scope="module")
def saved(tmp_path_factory):
    """A real model with pico's tokenizer and a random table of embeddings."""
    from sentence_transformers import SentenceTransformer
    from tokenizers import Tokenizer

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        from sentence_transformers.sentence_transformer.modules import StaticEmbedding

        tokenizer = Tokenizer.from_file(str(PICO / "tokenizer.json"))
        weights = np.random.default_rng(0).normal(size=(tokenizer.get_vocab_size(), WIDTH))
        embedding = StaticEmbedding(tokenizer, embedding_weights=weights.astype(np.float32))
        model = SentenceTransformer(
            modules=[embedding], device="cpu", prompts={"query": "question: ", "document": ""}
        )
        folder = tmp_path_factory.mktemp("dense") / "model"
        model.save(str(folder), create_model_card=False)
    return folder


@pytest.fixture
def copy(saved, tmp_path):
    return shutil.copytree(saved, tmp_path / "model")


def test_vectors_have_unit_norm_and_the_models_prompts(saved):
    model = DenseModel(saved, device="cpu")
    assert model.width == WIDTH
    texts = ["gravity attracts bodies", "Beijing 北京", "x " * 5_000]
    vectors = model.encode_passages(texts)
    assert (vectors.dtype, vectors.shape) == (np.float32, (3, WIDTH))
    np.testing.assert_allclose(np.linalg.norm(vectors, axis=1), 1, rtol=1e-6)
    query = model.encode_query("gravity")
    assert (query.dtype, query.shape) == (np.float32, (WIDTH,))
    np.testing.assert_allclose(query, model.encode_passages(["question: gravity"])[0], rtol=1e-5)
    assert not np.allclose(query, model.encode_passages(["gravity"])[0])


def test_nothing_and_empty_texts(saved):
    model = DenseModel(str(saved), device="cpu")
    assert model.encode_passages([]).shape == (0, WIDTH)
    assert np.isfinite(model.encode_passages(["", "a"])).all()


def test_it_finds_passages_together_with_the_first_stage(saved, tmp_path):
    model = DenseModel(saved, device="cpu")
    texts = {1: "gravity attracts bodies", 2: "the capital of China", 3: "red fox"}
    vectors = model.encode_passages(list(texts.values()))
    index = DenseFirstStage(tmp_path / "index", width=model.width)
    index.sync(VectorDictFeed(dict(zip(texts, vectors, strict=True))))
    assert index.search(model.encode_passages(["China, the capital"])[0], 1)[0][0] == 2
    index.close()


def test_names(saved, monkeypatch):
    assert DenseModel(saved).name == str(saved)
    monkeypatch.chdir(saved.parent)
    assert DenseModel("model").name == str(saved)
    assert DenseModel("kalm-embedding").name == "kalm-embedding"
    assert DENSE_MODELS["kalm-embedding"].startswith("KaLM-Embedding/")
    assert DenseModel("org/name").name == "org/name"


@pytest.mark.parametrize("name", ["kalm-embeding", "./nowhere", "a/b/c", Path("org/name")])
def test_a_model_that_is_nowhere_is_named(name):
    with pytest.raises(CheckpointNotFoundError, match="There is no dense model") as caught:
        DenseModel(name)
    assert "kalm-embedding" in str(caught.value)


@pytest.mark.parametrize("name", ["", 3, None, b"x"])
def test_what_can_name_no_model_is_refused(name):
    with pytest.raises(InvalidOptionError, match="must be a short name, a directory or a hub id"):
        DenseModel(name)


def test_the_fingerprint_follows_the_content(saved, copy):
    fingerprint = DenseModel(saved).fingerprint
    assert len(fingerprint) == 32
    assert DenseModel(copy).fingerprint == fingerprint
    (copy / "README.md").write_text("read me")
    (copy / "onnx").mkdir()
    (copy / "onnx" / "config.json").write_text("{}")
    assert DenseModel(copy).fingerprint == fingerprint
    for name in model_files(copy):
        before = (copy / name).read_bytes()
        (copy / name).write_bytes(before + b" ")
        if name != "modules.json":  # still the same list
            assert DenseModel(copy).fingerprint != fingerprint, name
        (copy / name).write_bytes(before)
    assert DenseModel(copy).fingerprint == fingerprint
    names = {Path(name).name for name in model_files(copy)}
    assert {"modules.json", "tokenizer.json", "model.safetensors"} <= names


@pytest.mark.parametrize(
    "modules", ["[", "{}", '[{"path": 3}]', '[{"path": "../elsewhere"}]', "[1]"]
)
def test_a_damaged_list_of_modules_is_named(copy, modules):
    (copy / "modules.json").write_text(modules)
    with pytest.raises(InvalidCheckpointError, match=r"modules\.json|no weights"):
        _ = DenseModel(copy).fingerprint
    with pytest.raises(InvalidCheckpointError):
        _ = DenseModel(copy).width


def test_a_directory_without_weights_is_refused(tmp_path):
    with pytest.raises(InvalidCheckpointError, match="holds no weights"):
        _ = DenseModel(tmp_path).fingerprint
    with pytest.raises(InvalidCheckpointError, match="cannot be loaded as a sentence-transformers"):
        _ = DenseModel(tmp_path).width


def test_code_that_comes_with_a_model_is_not_run(copy):
    modules = json.loads((copy / "modules.json").read_text())
    modules[0]["type"] = "custom.Module"
    (copy / "modules.json").write_text(json.dumps(modules))
    (copy / "custom.py").write_text("raise SystemExit('was run')")
    (copy / modules[0]["path"] / "custom.py").write_text("raise SystemExit('was run')")
    with pytest.raises(InvalidCheckpointError, match="cannot be loaded"):
        DenseModel(copy).encode_query("x")


def test_a_model_that_is_not_in_the_cache_when_offline(monkeypatch, tmp_path):
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path))
    model = DenseModel("kalm-embedding")
    with pytest.raises(CheckpointUnavailableError, match="is not in the cache") as caught:
        _ = model.fingerprint
    assert "hf download KaLM-Embedding/" in caught.value.hint


def test_values_that_are_not_finite_are_refused(saved, monkeypatch):
    model = DenseModel(saved, device="cpu")
    loaded = model._model()
    monkeypatch.setattr(
        loaded, "encode_document", lambda texts, **options: np.full((1, WIDTH), np.nan)
    )
    with pytest.raises(NonFiniteScoreError, match="NaN or infinite vectors"):
        model.encode_passages(["x"])


def test_a_missing_extra_names_the_install_command(monkeypatch, saved):
    def find_nothing(name):
        raise ModuleNotFoundError(f"No module named {name!r}", name=name)

    monkeypatch.setattr("kalm_reranker.extras.import_module", find_nothing)
    with pytest.raises(MissingExtraError, match=r'pip install "kalm-reranker\[dense\]"'):
        DenseModel(saved)
