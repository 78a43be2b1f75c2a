"""API keys from files and the environment."""

import pytest

from kalm_reranker.cli.api_keys import read_api_keys
from kalm_reranker.errors import InvalidOptionError


def test_no_keys():
    assert read_api_keys(None, None) == ()
    assert read_api_keys("", None) == ()  # as compose files write what is not set


@pytest.mark.parametrize("text", ["a,b", "a b", "a, b", " a\n\tb\n", ",a,,b,", "a,b,a"])
def test_keys_of_the_environment(text):
    assert read_api_keys(text, None) == ("a", "b")


def test_keys_of_a_file(tmp_path):
    file = tmp_path / "keys"
    file.write_text("# ours\n\nfirst\n  second  # of the crawler\n#third\nwith#sign\nfirst\n")
    assert read_api_keys(None, file) == ("first", "second", "with#sign")
    assert read_api_keys("zero,second", file) == ("zero", "second", "first", "with#sign")


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "holds no key"),
        (b"# nothing\n", "holds no key"),
        (b"key-1 key-2\n", "line 1: a line holds one key"),
        (b"\nschl\xc3\xbcssel\n", "line 2: keys are made of visible ASCII"),
        (b"\xff\xfe", "no UTF-8 text"),
        (b"k\x07ey", "visible ASCII"),
    ],
)
def test_files_that_hold_something_else(tmp_path, content, message):
    file = tmp_path / "keys"
    file.write_bytes(content)
    with pytest.raises(InvalidOptionError, match=message) as caught:
        read_api_keys(None, file)
    for key in ("key-1", "key-2", "schl"):
        assert key not in str(caught.value)


def test_files_that_cannot_be_read(tmp_path):
    with pytest.raises(InvalidOptionError, match="cannot be read: no such file"):
        read_api_keys(None, tmp_path / "missing")
    with pytest.raises(InvalidOptionError, match="cannot be read"):
        read_api_keys(None, tmp_path)


def test_a_variable_without_a_key():
    with pytest.raises(InvalidOptionError, match="KALM_API_KEYS is set but holds no key"):
        read_api_keys(" , ", None)
    with pytest.raises(InvalidOptionError, match="visible ASCII"):
        read_api_keys("schlüssel", None)
