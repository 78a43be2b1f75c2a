import datetime
import sys
from decimal import Decimal

import pytest

from kalm_reranker.errors import DataFileError, MissingExtraError
from kalm_reranker.index.sources.open import open_source
from kalm_reranker.store.passage import Passage
from tests.index.sources.reading import pairs, read, read_all

pa = pytest.importorskip("pyarrow")
pq = pytest.importorskip("pyarrow.parquet")


def parquet(tmp_path, columns, **options):
    path = tmp_path / "x.parquet"
    pq.write_table(columns if isinstance(columns, pa.Table) else pa.table(columns), path, **options)
    return path


def test_rows_are_read_over_row_groups_and_batches(tmp_path):
    count = 1500
    columns = {"id": range(count), "text": [f"text {n}" for n in range(count)]}
    path = parquet(
        tmp_path,
        pa.table({name: pa.array(values) for name, values in columns.items()}),
        row_group_size=700,
    )
    source = open_source(str(path))
    assert source.count() == count
    assert pairs(source) == [(str(n), f"text {n}") for n in range(count)]


def test_columns_are_named_as_in_json_lines(tmp_path):
    path = parquet(
        tmp_path,
        {"Title": ["T", None], "TEXT": ["x", ""], "docid": ["a", "b"], "n": pa.array([1, None])},
    )
    assert read_all(path) == [Passage("a", "T x", {"title": "T", "n": 1}), Passage("b", "")]


def test_values_become_json(tmp_path):
    zone = datetime.timezone(datetime.timedelta(hours=2))
    path = parquet(
        tmp_path,
        {
            "id": ["1"],
            "text": pa.array(["x"], pa.large_string()),
            "day": [datetime.date(2024, 5, 1)],
            "at": [datetime.datetime(2024, 5, 1, 12, 30)],
            "zoned": [datetime.datetime(2024, 5, 1, 12, tzinfo=zone)],
            "clock": [datetime.time(12, 30)],
            "took": [datetime.timedelta(seconds=90)],
            "price": [Decimal("1.10")],
            "tags": [["a", None]],
            "deep": [{"a": 1, "b": None, "c": {"d": [datetime.date(2024, 5, 1)]}}],
            "map": pa.array([[("k", 1), ("n", None)]], pa.map_(pa.string(), pa.int64())),
            "word": pa.array(["w"]).dictionary_encode(),
            "flag": [True],
            "share": [0.5],
        },
    )
    (passage,) = read_all(path)
    assert passage.metadata == {
        "day": "2024-05-01",
        "at": "2024-05-01T12:30:00",
        "zoned": "2024-05-01T12:00:00+02:00",
        "clock": "12:30:00",
        "took": "0:01:30",
        "price": "1.10",
        "tags": ["a", None],
        "deep": {"a": 1, "c": {"d": ["2024-05-01"]}},
        "map": {"k": 1},
        "word": "w",
        "flag": True,
        "share": 0.5,
    }


def test_a_struct_of_metadata_is_merged(tmp_path):
    path = parquet(
        tmp_path,
        {"id": ["1"], "text": ["x"], "lang": ["de"], "metadata": [{"lang": "en", "k": None}]},
    )
    assert read_all(path) == [Passage("1", "x", {"lang": "en"})]


def test_a_text_of_metadata_is_a_column(tmp_path):
    path = parquet(tmp_path, {"id": ["1"], "text": ["x"], "metadata": ["m"]})
    assert read_all(path) == [Passage("1", "x", {"metadata": "m"})]


@pytest.mark.parametrize(
    ("column", "values", "message"),
    [
        ("blob", pa.array([b"x", None]), 'column "blob": expected a value that JSON can write; go'),
        ("text", pa.array([None, "x"]), 'expected a string in "text"; got None'),
        ("text", pa.array([b"x", None]), "got bytes"),
        ("id", pa.array([None, "2"]), 'expected an id in "id"'),
        ("id", pa.array([1.5, None]), 'a string or an integer in "id"; got 1.5'),
        ("id", pa.array(["", "2"]), "id must hold at least one character"),
        ("n", pa.array([float("nan"), 1]), "metadata must be values that JSON can write"),
        (
            "m",
            pa.array([[(1, 1)], None], pa.map_(pa.int64(), pa.int64())),
            "a map with text as keys; got int",
        ),
        (
            "raw",
            pa.Array.from_buffers(
                pa.string(),
                2,
                [None, pa.array([0, 1, 2], pa.int32()).buffers()[1], pa.py_buffer(b"\xffb")],
            ),
            'column "raw": expected a value that Python can hold; .*0xff',
        ),
        (
            "far",
            pa.array([2**60, 1], pa.timestamp("us")),
            'column "far": expected a value that Pyt',
        ),
    ],
)
def test_a_bad_row_is_a_problem_and_the_next_rows_are_read(tmp_path, column, values, message):
    columns = {"id": pa.array(["1", "2"]), "text": pa.array(["one", "two"])} | {column: values}
    passages, messages, places = read(parquet(tmp_path, columns))
    assert places[0] == f"{tmp_path / 'x.parquet'}, row 1"
    with pytest.raises(DataFileError, match=message):
        raise DataFileError(messages[0])
    # The second row is good, unless it is a null where a null is none.
    assert bool(passages) == (values[1].is_valid or column not in ("id", "text"))


def test_unknown_columns_end_the_source(tmp_path):
    with pytest.raises(DataFileError, match=r'expected a column "text"; got \[\'id\', \'body\'\]'):
        read(parquet(tmp_path, {"id": ["1"], "body": ["x"]}))


def test_columns_of_one_name_end_the_source(tmp_path):
    columns = pa.Table.from_arrays([pa.array(["1"])] * 3, names=["id", "text", "text"])
    with pytest.raises(DataFileError, match="got 'text' twice"):
        read(parquet(tmp_path, columns))


def test_an_empty_table(tmp_path):
    path = parquet(tmp_path, {"id": pa.array([], pa.string()), "text": pa.array([], pa.string())})
    assert read_all(path) == []
    assert open_source(str(path)).count() == 0


@pytest.mark.parametrize("damage", ["empty", "cut", "text", "pages"])
def test_a_damaged_file_ends_the_source(tmp_path, damage):
    path = parquet(tmp_path, {"id": ["1"] * 1000, "text": [f"word {n}" for n in range(1000)]})
    data = bytearray(path.read_bytes())
    if damage == "pages":
        data[8:-1000] = b"\xff" * (len(data) - 1008)
    path.write_bytes(
        {"empty": b"", "cut": data[: len(data) // 2], "text": b"no parquet", "pages": data}[damage]
    )
    source = open_source(str(path))
    if damage != "pages":
        assert source.count() is None
    with pytest.raises(DataFileError, match="expected a complete parquet file"):
        list(source)


def test_a_missing_pyarrow_names_the_install_command(tmp_path, monkeypatch):
    path = parquet(tmp_path, {"id": ["1"], "text": ["x"]})
    monkeypatch.setitem(sys.modules, "pyarrow.parquet", None)
    with pytest.raises(MissingExtraError, match=r"kalm-reranker\[parquet\]"):
        open_source(str(path))


def test_a_file_that_vanishes_ends_the_source(tmp_path):
    path = parquet(tmp_path, {"id": ["1"], "text": ["x"]})
    source = open_source(str(path))
    path.unlink()
    with pytest.raises(DataFileError, match="cannot be read: No such file"):
        list(source)
