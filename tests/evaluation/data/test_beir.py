import gzip
import json
from pathlib import Path

import pytest

from kalm_reranker.errors import DataFileError
from kalm_reranker.evaluation.data.beir import load_beir
from kalm_reranker.evaluation.data.judgements import Judgement, judged_collection

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


@pytest.mark.parametrize("relevance", ["0.5", "nan", "-1.5", "1e-3"])
def test_a_first_line_with_a_number_is_no_header(tmp_path, relevance):
    beir_directory(tmp_path, qrels=[f"q1\t1\t{relevance}", "q2\t2\t1"])
    with pytest.raises(DataFileError, match=r"test\.tsv, line 1: .*an integer relevance"):
        load_beir(tmp_path)


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


def test_what_is_left_out_is_named_with_its_line(tmp_path):
    qrels = [*QRELS, "nobody\t1\t1", "q1\tmissing\t1", "q2\tgone\t0"]
    notes = load_beir(beir_directory(tmp_path, qrels=qrels)).notes
    path = tmp_path / "qrels" / "test.tsv"
    assert notes == (
        "1 judgement names a query that does not exist and is left out "
        f"(first: 'nobody' on line 6 of {path}).",
        "2 judgements each name a passage that is not in the corpus; it counts as one that no "
        f"ranker finds (first: 'missing' on line 7, 'gone' on line 8 of {path}).",
        "2 of 4 queries have no relevant passage, 1 of them without any judgement, and are left "
        "out (first: 'q3', 'q4').",
    )


def test_a_whole_collection_has_no_notes(tmp_path):
    queries, qrels = QUERIES[:2], [QRELS[0], *(line for line in QRELS[1:] if "q3" not in line)]
    assert load_beir(beir_directory(tmp_path, queries=queries, qrels=qrels)).notes == ()


def test_a_query_that_nobody_can_answer_is_noted(tmp_path):
    qrels = ["q1\t1\t1", "q2\tmissing\t1"]
    collection = load_beir(beir_directory(tmp_path, queries=QUERIES[:2], qrels=qrels))
    assert set(collection.queries) == {"q1", "q2"}  # trec_eval counts it as 0
    assert collection.notes[-1] == (
        "On 1 of 2 queries every ranker gets 0, since no relevant passage of theirs is in the "
        "corpus (first: 'q2')."
    )


@pytest.mark.parametrize(
    ("parts", "message"),
    [
        ({"corpus": []}, r"corpus\.jsonl: expected a passage on each line; it has none"),
        ({"queries": []}, r"queries\.jsonl: expected a query on each line; it has none"),
        ({"qrels": []}, r"test\.tsv: expected judgements; it has none"),
        ({"qrels": QRELS[:1]}, r"test\.tsv: expected judgements; it has none"),
        ({"qrels": ["q1\t1\t0"]}, r"test\.tsv: expected judgements above 0"),
        ({"qrels": ["no\t1\t1", "one\t1\t1"]}, r"none of the 2 judgements .*'no' on line 1, 'one'"),
        ({"qrels": ["q1\tx\t1", "q1\ty\t1"]}, r"none is in it \(first: 'x' on line 1, 'y' on"),
        ({"queries": ['{"_id": "q1", "text": " "}']}, "query 'q1' has judgements but no text"),
    ],
)
def test_a_collection_that_measures_nothing_is_refused(tmp_path, parts, message):
    beir_directory(tmp_path, **parts)
    with pytest.raises(DataFileError, match=message) as caught:
        load_beir(tmp_path)
    assert caught.value.hint


@pytest.mark.parametrize(
    ("name", "qrels"),
    [
        ("test.tsv", ["q1\t1\t1.0", "q2\t2\t2.0"]),  # through a data frame
        ("test.tsv", ["q1 0 1 1", "q2 0 2 2"]),  # TREC
        ("test.tsv", ["q1\tQ0\t1\t1", "q2\tQ0\t2\t2"]),
        (
            "test.jsonl",  # a copy of a benchmark's repository
            [
                '{"query-id": "q1", "corpus-id": "1", "score": 1}',
                '{"query-id": "q2", "corpus-id": "2", "score": 2.0}',
            ],
        ),
    ],
)
def test_other_forms_of_judgements(tmp_path, name, qrels):
    beir_directory(tmp_path)
    (tmp_path / "qrels" / "test.tsv").unlink()
    write(tmp_path / "qrels" / name, lines(qrels))
    assert load_beir(tmp_path).qrels == {"q1": {"1": 1}, "q2": {"2": 2}}


@pytest.mark.parametrize(
    ("name", "line", "message"),
    [
        ("test.tsv", "q2 0 2", "line 2: expected query id, 0, passage id and an integer"),
        ("test.tsv", "q2\t2\t2", "line 2: expected query id, 0, passage id and an integer"),
        ("test.tsv", "q2 0 2 nan", "line 2: expected query id, 0, passage id and an integer"),
        ("test.tsv", "q2 0 2 0.5", "line 2: expected query id, 0, passage id and an integer"),
    ],
)
def test_a_broken_line_of_a_trec_file_is_named(tmp_path, name, line, message):
    beir_directory(tmp_path, qrels=["q1 0 1 1", line])
    with pytest.raises(DataFileError, match=message):
        load_beir(tmp_path)


@pytest.mark.parametrize(
    "line",
    [
        '{"query-id": "q2", "corpus-id": "2"}',
        '{"query-id": 2, "corpus-id": "2", "score": 1}',
        '{"query-id": "q2", "corpus-id": "2", "score": true}',
        '{"query-id": "q2", "corpus-id": "2", "score": 0.5}',
    ],
)
def test_a_broken_judgement_in_json_is_named(tmp_path, line):
    beir_directory(tmp_path)
    (tmp_path / "qrels" / "test.tsv").unlink()
    first = '{"query-id": "q1", "corpus-id": "1", "score": 1}'
    write(tmp_path / "qrels" / "test.jsonl", lines([first, line]))
    with pytest.raises(DataFileError, match=r"test\.jsonl, line 2: expected strings in query-id"):
        load_beir(tmp_path)


def test_the_first_queries_keep_their_pools_and_instructions(tmp_path):
    collection = judged_collection(
        [Judgement("q1", "1", 1, 1), Judgement("q2", "2", 1, 2)],
        name="toy",
        passages={"1": "one", "2": "two", "q1": "the query itself"},
        titles={"1": "", "2": "", "q1": ""},
        queries={"q1": "first", "q2": "second"},
        source="toy",
        pools={"q1": ["2", "1", "q1", "stranger", "1"]},
        excludes_own_id=True,
        query_instructions={"q1": "find one", "q2": " ", "q3": "nothing"},
    )
    assert collection.pools == {"q1": ("2", "1"), "q2": ("1", "2", "q1")}
    assert collection.query_instructions == {"q1": "find one"}
    assert collection.notes == (
        "1 of 2 queries have no list of candidates and are searched in all passages (first: 'q2').",
        "Listed candidates that are not in the corpus, and are left out: 1.",
    )
    first = collection.first_queries(1)
    assert first.pools == {"q1": ("2", "1")}
    assert first.query_instructions == {"q1": "find one"}


def test_a_query_whose_candidates_are_all_missing_is_noted():
    collection = judged_collection(
        [Judgement("q", "1", 1, 1)],
        name="toy",
        passages={"1": "one"},
        titles={"1": ""},
        queries={"q": "query"},
        source="toy",
        pools={"q": ["2"]},
    )
    assert collection.notes[-1].startswith("On 1 of 1 queries every ranker gets 0, since none of")
