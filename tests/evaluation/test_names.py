import pytest

from kalm_reranker.errors import InvalidOptionError
from kalm_reranker.evaluation.names import file_name, file_names


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("scifact", "scifact"),
        ("pico r=2", "pico_r=2"),
        ("pico_r=2", "pico_r=2"),
        ("BM25 + pico r=2", "BM25_+_pico_r=2"),
    ],
)
def test_plain_names_stay_readable(name, expected):
    assert file_name(name) == expected


@pytest.mark.parametrize(
    "name",
    [
        *("..", ".", "-", "_", " ", "", "a/b", "../../etc", "pico 32:2:20", "日本語", "a\nb"),
        "x" * 300,
        *("CON", "con.trec", "Nul", "com1", "trailing.", "trailing ", "a  b", "\udc80", '"<>|?*\\'),
    ],
)
def test_any_name_becomes_one_that_every_file_system_takes(name):
    found = file_name(name)
    assert 0 < len(found) <= 100
    assert found == file_name(name)
    assert set(found) <= set("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789._=+-")
    assert found[0] not in ".-"
    assert found[-1] != "."
    assert found.split(".")[0].casefold() not in {"con", "prn", "aux", "nul", "com1", "lpt1"}


def test_names_that_differ_somewhere_have_different_files():
    names = [
        *("a" * 100, "a" * 101, "a b", "a  b", "a/b", "a:b", "a-b", "a.", "a"),
        *("..", ".", "日本", "日木"),
    ]
    found = file_names(names)
    assert list(found) == names
    assert len({name.casefold() for name in found.values()}) == len(names)


def test_names_that_only_their_case_or_spaces_tell_apart_are_refused():
    for pair in (("Pico", "pico"), ("same", "same"), ("a b", "a_b")):
        with pytest.raises(InvalidOptionError, match="names must be different") as raised:
            file_names(pair)
        assert raised.value.hint
