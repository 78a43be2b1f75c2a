import gzip
import json
from pathlib import Path

import pytest

from kalm_reranker.errors import DataFileError
from kalm_reranker.evaluation.beir import load_beir

CORPUS = [
    {"_id": "1", "title": "Gravity", "text": "attracts bodies."},
    {"_id": "2", "text": " no title "},
    {"_id": "3", "title": None, "text": ""},
]
QUERIES = [
    {"_id": "q2", "text": "second in the judgements"},
    {"_id": "q1", "text": "what attracts"},
    {"_id": "q3", "text": "only a zero"},
    {"_id": "q4", "text": "never judged"},
]
QRELS = ["query-id\tcorpus-id\tscore", "q1\t1\t2", "q1\t3\t0", "q2\t2\t1", "q3\t1\t0"]


def write(path, text, gzipped=False):
    path.parent.mkdir(parents=True, exist_ok=True)
    data = text if isinstance(text, bytes) else text.encode()
    if gzipped:
        path.with_name(f"{path.name}.gz").write_bytes(gzip.compress(data))
    else:
        path.write_bytes(data)


def lines(records):
    return "".join(
        (record if isinstance(record, str) else json.dumps(record)) + "\n" for record in records
    )


def beir_directory(path, *, corpus=CORPUS, queries=QUERIES, qrels=QRELS, gzipped=False):
    write(path / "corpus.jsonl", lines(corpus), gzipped)
    write(path / "queries.jsonl", lines(queries), gzipped)
    write(path / "qrels" / "test.tsv", lines(qrels), gzipped)
    return path


@pytest.mark.parametrize("gzipped", [False, True])
def test_a_directory_is_read(tmp_path, gzipped):
    collection = load_beir(beir_directory(tmp_path / "toy", gzipped=gzipped))
    assert collection.name == "toy"
    assert collection.passages == {"1": "Gravity attracts bodies.", "2": "no title", "3": ""}
    assert collection.titles == {"1": "Gravity", "2": "", "3": ""}
    assert collection.qrels == {"q1": {"1": 2, "3": 0}, "q2": {"2": 1}}


def test_queries_without_a_relevant_passage_are_dropped_and_counted(tmp_path):
    collection = load_beir(beir_directory(tmp_path))
    assert list(collection.queries) == ["q2", "q1"]  # file order
    assert collection.num_dropped_queries == 2


def test_the_first_queries_keep_their_judgements(tmp_path):
    first = load_beir(beir_directory(tmp_path)).first_queries(1)
    assert list(first.queries) == ["q2"]
    assert first.qrels == {"q2": {"2": 1}}
    assert len(first.passages) == 3


def test_dangling_judgements_are_counted(tmp_path):
    qrels = [*QRELS, "nobody\t1\t1", "q1\tmissing\t1"]
    collection = load_beir(beir_directory(tmp_path, qrels=qrels))
    assert collection.num_dangling_judgements == 2
    assert collection.qrels["q1"] == {"1": 2, "3": 0, "missing": 1}  # the ideal counts it


def test_another_split_and_name(tmp_path):
    beir_directory(tmp_path)
    write(tmp_path / "qrels" / "dev.tsv", "q4\t2\t1\n")  # no header
    collection = load_beir(tmp_path, split="dev", name="mine")
    assert (collection.name, list(collection.queries)) == ("mine", ["q4"])


def test_byte_order_mark_windows_line_ends_and_blank_lines(tmp_path):
    beir_directory(tmp_path)
    text = lines(QUERIES).replace("\n", "\r\n") + "\r\n\n"
    write(tmp_path / "queries.jsonl", b"\xef\xbb\xbf" + text.encode())
    write(tmp_path / "qrels" / "test.tsv", lines(QRELS).replace("\n", "\r\n"))
    collection = load_beir(tmp_path)
    assert collection.queries["q1"] == "what attracts"
    assert collection.qrels["q1"] == {"1": 2, "3": 0}


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ('{"_id": "9", "text": ', "expected one JSON object; .* at column"),
        ("[1, 2]", r"expected one JSON object; got '\[1, 2\]'"),
        ('{"text": "x"}', 'expected a non-empty string in "_id"; got None'),
        ('{"_id": 9, "text": "x"}', 'expected a non-empty string in "_id"; got 9'),
        ('{"_id": "", "text": "x"}', 'expected a non-empty string in "_id"'),
        ('{"_id": "1", "text": "x"}', "expected a new id; '1' was already on line 1"),
        ('{"_id": "9"}', 'expected a string in "text"; got no such field'),
        ('{"_id": "9", "text": null}', 'expected a string in "text"; got None'),
        ('{"_id": "9", "title": 5, "text": "x"}', 'expected a string in "title"; got 5'),
    ],
)
def test_a_broken_corpus_line_is_named(tmp_path, line, message):
    beir_directory(tmp_path, corpus=[*CORPUS, line])
    with pytest.raises(DataFileError, match=rf"corpus\.jsonl, line 4: {message}") as caught:
        load_beir(tmp_path)
    assert caught.value.hint


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("q1 1 1", "separated by tabs; got 'q1 1 1'"),
        ("q1\t0\t1\t1", "expected query id, passage id and an integer relevance"),
        ("q1\t1\thigh", "expected query id, passage id and an integer relevance"),
        ("q1\t1\t1.5", "expected query id, passage id and an integer relevance"),
        ("q1\t1\t0", "expected one judgement for query 'q1' and passage '1'; got 0 after 2"),
    ],
)
def test_a_broken_judgement_is_named(tmp_path, line, message):
    beir_directory(tmp_path, qrels=[*QRELS, line])
    with pytest.raises(DataFileError, match=rf"test\.tsv, line 6: .*{message}") as caught:
        load_beir(tmp_path)
    assert caught.value.hint


def test_long_lines_are_cut_in_messages(tmp_path):
    beir_directory(tmp_path, corpus=["x" * 100_000])
    with pytest.raises(DataFileError) as caught:
        load_beir(tmp_path)
    assert len(str(caught.value)) < 500


def test_text_that_is_not_utf8_is_named(tmp_path):
    beir_directory(tmp_path)
    write(tmp_path / "queries.jsonl", lines(QUERIES).encode() + b'{"_id": "\xe9"}\n')
    with pytest.raises(DataFileError, match=r"queries\.jsonl, line 5: expected UTF-8.*0xe9 at col"):
        load_beir(tmp_path)


@pytest.mark.parametrize("damage", ["cut", "not gzip", "flipped"])
def test_damaged_gzip_files_are_named(tmp_path, damage):
    beir_directory(tmp_path, gzipped=True)
    path = tmp_path / "corpus.jsonl.gz"
    data = bytearray(path.read_bytes())
    if damage == "cut":
        del data[-12:]
    elif damage == "not gzip":
        data = bytearray(b"plain text\n")
    else:
        data[-6] ^= 0xFF  # the checksum
    path.write_bytes(data)
    with pytest.raises(DataFileError, match=r"corpus\.jsonl\.gz, after line \d+: .*gzip"):
        load_beir(tmp_path)


def test_a_missing_file_names_what_is_there(tmp_path):
    beir_directory(tmp_path)
    with pytest.raises(
        DataFileError, match=r"dev\.tsv .*does not exist; its folder holds test\.tsv"
    ):
        load_beir(tmp_path, split="dev")
    with pytest.raises(DataFileError, match=r"corpus\.jsonl .*does not exist.* holds nothing"):
        load_beir(tmp_path / "nowhere")


def test_an_unreadable_file_is_a_data_file_error(tmp_path, monkeypatch):
    beir_directory(tmp_path)

    def refuse(path, *args, **kwargs):
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(Path, "open", refuse)
    with pytest.raises(DataFileError, match="cannot be read: Permission denied"):
        load_beir(tmp_path)
