"""The header of a store: what it must hold, and what is refused."""

import json
from dataclasses import replace

import pytest

from kalm_reranker.errors import DamagedStoreError, InvalidStoreError
from kalm_reranker.store.header import DenseHeader, StoreHeader
from tests.store.headers import a_header, a_provenance


@pytest.mark.parametrize("dense", [None, DenseHeader(model="m", fingerprint="f", width=3)])
def test_a_header_comes_back_as_it_was(dense):
    header = a_header(dense=dense, revision="é\n", keep_text=False)
    assert StoreHeader.from_json(header.to_json(), "here") == header


def test_a_header_of_before_windows_is_one_that_truncates():
    values = json.loads(a_header().to_json())
    assert "long_documents" not in values["provenance"]  # so older readers read it, too
    assert StoreHeader.from_json(json.dumps(values), "here").provenance.window is None


def test_a_header_of_windows_says_so():
    origin = replace(a_provenance(), long_documents="windows")
    header = a_header(provenance=origin)
    assert json.loads(header.to_json())["provenance"]["long_documents"] == "windows"
    again = StoreHeader.from_json(header.to_json(), "here")
    assert again == header
    assert again.provenance.window == 1024


def changed(change):
    values = json.loads(a_header(dense=DenseHeader(model="m", fingerprint="f", width=3)).to_json())
    change(values)
    return json.dumps(values)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda v: v.pop("codec"), "the header must have the keys"),
        (lambda v: v.update(future=1), "the header must have the keys"),
        (lambda v: v["provenance"].pop("dtype"), "the provenance must have the keys"),
        (lambda v: v["dense"].update(bits=1), "the dense must have the keys"),
        (lambda v: v.update(width="4"), r"header.width has a wrong type; got '4'"),
        (lambda v: v.update(width=True), r"header.width has a wrong type; got True"),
        (lambda v: v.update(width=0), r"header.width must be positive; got 0"),
        (lambda v: v.update(compression_ratio=-4), r"compression_ratio must be positive; got -4"),
        (lambda v: v.update(compression_ratio=4.0), r"compression_ratio has a wrong type"),
        (lambda v: v.update(keep_text=1), r"keep_text has a wrong type"),
        (lambda v: v.update(model=None), r"model has a wrong type"),
        (lambda v: v.update(provenance=[]), r"provenance has a wrong type"),
        (lambda v: v.update(dense="m"), r"dense has a wrong type"),
        (lambda v: v["dense"].update(width=None), r"dense.width has a wrong type"),
        (lambda v: v["provenance"].update(max_length=0), r"max_length must be positive"),
        (lambda v: v["provenance"].update(long_documents=1), r"long_documents has a wrong type"),
        (lambda v: v["provenance"].update(long_documents="x"), r"'truncate', 'windows'; got 'x'"),
    ],
)
def test_other_headers_are_refused(change, message):
    with pytest.raises(InvalidStoreError, match=message):
        StoreHeader.from_json(changed(change), "here")


@pytest.mark.parametrize("text", ["[]", "null", "3", '"x"'])
def test_what_is_no_object_is_refused(text):
    with pytest.raises(InvalidStoreError, match=r"here: the header must have the keys .* got"):
        StoreHeader.from_json(text, "here")


@pytest.mark.parametrize("text", ["", "{", "[" * 100_000])
def test_what_is_no_json_is_damage(text):
    with pytest.raises(DamagedStoreError, match="here: the header is no JSON"):
        StoreHeader.from_json(text, "here")
