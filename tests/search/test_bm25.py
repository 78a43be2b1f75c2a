import builtins
import importlib
import math

import pytest

from kalm_reranker.errors import InputError, InvalidOptionError, MissingExtraError
from kalm_reranker.search.bm25 import BM25FirstStage

PASSAGES = {
    "gravity": "Gravity attracts bodies toward one another.",
    "beijing": "The capital of China is Beijing.",
    "paris": "The capital of France is Paris, and Paris is on the Seine.",
    "empty": "",
}


def test_the_passage_with_the_query_words_comes_first():
    run = BM25FirstStage(PASSAGES).search({"q": "What is the capital of China?"})
    assert list(run["q"]) == ["beijing", "paris"]


def test_passages_without_a_query_word_are_not_returned():
    run = BM25FirstStage(PASSAGES).search({"none": "zebra", "stop": "the of", "blank": ""})
    assert run == {"none": {}, "stop": {}, "blank": {}}


def test_scores_follow_the_formula():
    # Two passages of two terms each; "x" once in one of them, so length normalisation is 1.
    index = BM25FirstStage({"a": "x y", "b": "z y"}, language="other", k1=0.9, b=0.4)
    idf = math.log(1 + (2 - 1 + 0.5) / (1 + 0.5))
    assert index.search({"q": "x"})["q"]["a"] == pytest.approx(idf / (1 + 0.9), rel=1e-6)


def test_top_k_cuts_and_ties_keep_the_smaller_ids_whatever_the_insertion_order():
    same = {"c": "red fox", "a": "red fox", "d": "blue", "b": "red fox"}
    for passages in (same, dict(reversed(same.items()))):
        assert list(BM25FirstStage(passages).search({"q": "fox"}, top_k=2)["q"]) == ["a", "b"]


def test_a_collection_without_any_word_finds_nothing():
    index = BM25FirstStage({"a": "", "b": "!?"})
    assert index.search({"q": "anything"}) == {"q": {}}
    assert len(index) == 2


def test_chinese_is_found_by_its_bigrams():
    index = BM25FirstStage({"a": "黑豹队的防守", "b": "北京是中国的首都"})
    assert not index.english
    assert list(index.search({"q": "中国首都是哪里"})["q"]) == ["b"]


def test_no_queries_give_an_empty_run():
    assert BM25FirstStage(PASSAGES).search({}) == {}


def test_no_passages_are_refused():
    with pytest.raises(InputError, match="needs at least one passage; got none"):
        BM25FirstStage({})


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"k1": -0.1}, "k1 must be at least 0; got -0.1"),
        ({"k1": math.nan}, "k1 must be at least 0; got nan"),
        ({"b": 1.5}, "b must be between 0 and 1; got 1.5"),
        ({"language": "klingon"}, "language must be one of"),
    ],
)
def test_options_out_of_range_are_refused(options, message):
    with pytest.raises(InvalidOptionError, match=message):
        BM25FirstStage(PASSAGES, **options)


@pytest.mark.parametrize("top_k", [0, -1])
def test_top_k_must_be_positive(top_k):
    with pytest.raises(InvalidOptionError, match=f"top_k must be a positive integer; got {top_k}"):
        BM25FirstStage(PASSAGES).search({"q": "x"}, top_k=top_k)


@pytest.mark.parametrize("missing", ["bm25s", "Stemmer"])
def test_a_missing_extra_names_the_install_command(missing, monkeypatch):
    def find_nothing(name, *args, **kwargs):
        if name == missing:
            raise ModuleNotFoundError(f"No module named {name!r}", name=name)
        return real_import(name, *args, **kwargs)

    real_import = importlib.import_module
    monkeypatch.setattr("kalm_reranker.extras.import_module", find_nothing)
    install = r'pip install "kalm-reranker\[(search|eval)\]"'
    with pytest.raises(MissingExtraError, match=install) as caught:
        BM25FirstStage(PASSAGES)
    assert isinstance(caught.value, builtins.ImportError)
    assert missing in str(caught.value)
