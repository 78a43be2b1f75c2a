"""Texts of an exact length."""

import pytest

from kalm_reranker.bench.inputs import passage_texts, query_text
from kalm_reranker.checkpoints.bundled import bundled_checkpoint
from kalm_reranker.encoding.tokenizer import RerankerTokenizer
from kalm_reranker.errors import InvalidOptionError


@pytest.fixture(scope="module")
def tokenizer():
    return RerankerTokenizer.from_file(bundled_checkpoint().tokenizer_path, vocab_size=24_576)


@pytest.mark.parametrize("length", [6, 7, 31, 128, 513, 2048])
def test_passages_have_the_length_asked_for(tokenizer, length):
    texts = passage_texts(tokenizer, count=5, length=length, seed=0)
    assert [len(one.ids) for one in tokenizer.encode_documents(texts, 10_000)] == [length] * 5


def test_passages_are_distinct_and_the_same_at_every_run(tokenizer):
    texts = passage_texts(tokenizer, count=20, length=40, seed=1)
    assert len(set(texts)) == 20
    assert texts == passage_texts(tokenizer, count=20, length=40, seed=1)
    assert texts != passage_texts(tokenizer, count=20, length=40, seed=2)


@pytest.mark.parametrize("length", [1, 2, 24, 300])
def test_queries_have_the_length_asked_for(tokenizer, length):
    assert tokenizer.count_tokens(query_text(tokenizer, length=length, seed=0)) == length


def test_a_passage_cannot_be_shorter_than_its_prefix(tokenizer):
    with pytest.raises(InvalidOptionError, match="--lengths: no text of exactly 2 tokens"):
        passage_texts(tokenizer, count=1, length=2, seed=0)
