"""What the package shows to the world, and what importing it costs."""

import subprocess
import sys

import pytest

import kalm_reranker


def test_public_names():
    assert kalm_reranker.__all__ == [
        "AsyncKaLMClient",
        "CascadeSettings",
        "KaLMClient",
        "KaLMReranker",
        "KalmRerankerError",
        "Passage",
        "PassageIndex",
        "PassageStates",
        "RankedDocument",
        "ScoredPair",
        "SearchResult",
        "SearchResults",
        "__version__",
    ]
    assert dir(kalm_reranker) == sorted(kalm_reranker.__all__)
    for name in kalm_reranker.__all__:
        assert getattr(kalm_reranker, name) is not None


def test_unknown_names_are_attribute_errors():
    with pytest.raises(AttributeError, match="has no attribute 'Reranker'"):
        kalm_reranker.Reranker  # noqa: B018


def modules_after(statement: str) -> set[str]:
    code = f"import sys\n{statement}\nprint(*sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    return set(done.stdout.split())


@pytest.mark.parametrize("statement", ["import kalm_reranker", "import kalm_reranker.cli.main"])
def test_importing_does_not_import_torch(statement):
    assert not modules_after(statement) & {"torch", "transformers", "huggingface_hub", "bm25s"}


@pytest.mark.parametrize("module", ["cli.index", "cli.search", "store.sqlite_store"])
def test_looking_into_an_index_costs_no_torch(module):
    assert "torch" not in modules_after(f"import kalm_reranker.{module}")


def test_an_index_without_a_first_stage_needs_no_extra():
    modules = modules_after(
        "import tempfile; from kalm_reranker import PassageIndex;"
        "index = PassageIndex.create(tempfile.mkdtemp() + '/i', keep_text=False);"
        "index.add([('a', 'b')]); index.rerank('q', ['a'])"
    )
    assert not modules & {"tantivy", "Stemmer", "sentence_transformers", "pyarrow", "transformers"}


def test_scoring_never_imports_transformers():
    modules = modules_after(
        "from kalm_reranker import KaLMReranker; KaLMReranker('pico').rank('a', ['b'])"
    )
    assert "torch" in modules
    assert not modules & {"transformers", "typer", "rich", "bm25s", "ir_measures"}
