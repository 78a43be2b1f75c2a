"""JSON lines written by any program are read back as they were."""

import json

from hypothesis import given
from hypothesis import strategies as st

from kalm_reranker.index.sources.fields import ID_FIELDS
from kalm_reranker.index.sources.open import open_source
from kalm_reranker.store.passage import Passage
from tests.index.sources.reading import read_all, write

texts = st.text(st.characters(exclude_categories=["Cs"]))
values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False)
    | texts,
    lambda children: st.lists(children, max_size=3) | st.dictionaries(texts, children, max_size=3),
    max_leaves=8,
)  # fmt: skip
records = st.tuples(
    st.text(st.characters(exclude_categories=["Cs"]), min_size=1),
    texts,
    st.dictionaries(texts, values, max_size=4),
)


@given(st.lists(records, max_size=5), st.booleans(), st.sampled_from(["\n", "\r\n"]))
def test_records_make_the_round_trip(tmp_path_factory, given_records, ascii_only, line_end):
    path = tmp_path_factory.mktemp("any") / "x.jsonl"
    lines = [
        json.dumps({"id": name, "text": text, "metadata": metadata}, ensure_ascii=ascii_only)
        for name, text, metadata in given_records
    ]
    path.write_bytes("".join(line + line_end for line in lines).encode())
    assert read_all(path) == [
        Passage(name, text.strip(), metadata or None) for name, text, metadata in given_records
    ]


@given(st.dictionaries(texts.filter(lambda name: name not in
    {*ID_FIELDS, "title", "text", "metadata"}), values, max_size=4))  # fmt: skip
def test_fields_without_a_meaning_become_metadata(tmp_path_factory, others):
    line = json.dumps({"id": "1", "text": "x"} | others)
    path = write(tmp_path_factory.mktemp("any") / "x.jsonl", line)
    assert read_all(path) == [Passage("1", "x", others or None)]


@given(st.binary(max_size=200), st.sampled_from(["jsonl", "tsv", "csv"]))
def test_any_bytes_are_records_or_problems(tmp_path_factory, data, format):
    path = tmp_path_factory.mktemp("any") / "x"
    path.write_bytes(data + b"\n")
    columns = None if format == "jsonl" else ["id", "text"]
    for record in open_source(str(path), format=format, columns=columns):
        if isinstance(record, Passage):
            record.text.encode()
