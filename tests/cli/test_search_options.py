"""Text options of `kalm search`."""

import pytest

from kalm_reranker.checkpoints.settings import CascadeSettings
from kalm_reranker.cli.search_options import cascade_from_text, filter_from_texts
from kalm_reranker.errors import InvalidOptionError
from kalm_reranker.options import UNSET
from kalm_reranker.search.filters import predicate_of


def test_cascades():
    assert cascade_from_text(None) is UNSET
    assert cascade_from_text("none") is None
    assert cascade_from_text("32:20") == CascadeSettings(
        coarse_ratio=32, fine_ratio=None, fine_count=20
    )
    assert cascade_from_text("32:4:20").fine_ratio == 4


@pytest.mark.parametrize("text", ["", "32", "a:b", "32:", "1:2:3:4", "-1:2"])
def test_what_is_no_cascade(text):
    with pytest.raises(InvalidOptionError, match="--cascade must be COARSE:COUNT"):
        cascade_from_text(text)


@pytest.mark.parametrize(
    ("texts", "metadata", "expected"),
    [
        (["lang=en"], {"lang": "en"}, True),
        (["lang=en,de"], {"lang": "de"}, True),
        (["lang!=en"], {"lang": "de"}, True),
        (["lang!=en"], {"lang": "en"}, False),
        (["year>=2020"], {"year": 2020}, True),
        (["year>=2000", "year<2010"], {"year": 2005}, True),
        (["year>=2000", "year<2010"], {"year": 2010}, False),
        (["year=2020"], {"year": "2020"}, True),
        (["year=2020"], {"year": 2020}, True),
        (["open=true"], {"open": True}, True),
        (["open=true"], {"open": 1}, False),
        (['title="a, b"'], {"title": "a, b"}, True),
        (["url=http://x?a=b"], {"url": "http://x?a=b"}, True),
        (["date>=2024-05"], {"date": "2024-06-01"}, True),
        (["empty="], {"empty": ""}, True),
    ],
)
def test_conditions(texts, metadata, expected):
    assert predicate_of(filter_from_texts(texts))(metadata) is expected


def test_no_conditions_are_no_filter():
    assert filter_from_texts([]) is None


@pytest.mark.parametrize("text", ["lang", "=x", ""])
def test_what_is_no_condition(text):
    with pytest.raises(InvalidOptionError, match="--filter must be FIELD=VALUE"):
        filter_from_texts([text])


def test_one_field_has_one_condition_of_a_kind():
    with pytest.raises(InvalidOptionError, match="'a' has two conditions with ="):
        filter_from_texts(["a=1", "a=2"])
