"""The examples in docstrings, run."""

import doctest
from importlib import import_module

import pytest


@pytest.mark.parametrize("name", ["kalm_reranker.scoring", "kalm_reranker.reranker"])
def test_docstring_examples(name):
    result = doctest.testmod(import_module(name))
    assert result.attempted > 0
    assert result.failed == 0
