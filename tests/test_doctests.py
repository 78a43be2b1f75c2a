"""The examples in docstrings, run."""

import doctest
from importlib import import_module

import pytest

DOCUMENTED = [
    "kalm_reranker.scoring",
    "kalm_reranker.calibration",
    "kalm_reranker.reranker",
    "kalm_reranker.index.passage_index",
    "kalm_reranker.search.analysis",
    "kalm_reranker.search.bm25",
]


@pytest.mark.parametrize("name", DOCUMENTED)
def test_docstring_examples(name):
    result = doctest.testmod(import_module(name))
    assert result.attempted > 0
    assert result.failed == 0
