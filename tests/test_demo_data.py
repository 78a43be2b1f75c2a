"""The demo collection: complete, licensed, and made by the script that says so."""

import gzip
import subprocess
import sys
from pathlib import Path

import pytest

import kalm_reranker
from kalm_reranker.evaluation.data.bundled import load_demo_collection

ROOT = Path(__file__).parents[1]
FOLDER = Path(kalm_reranker.__file__).parent / "data" / "demo"
SCIFACT = ROOT.parent / "shared" / "data" / "eval" / "scifact"


def test_the_collection_is_what_its_licence_file_says():
    collection = load_demo_collection()
    assert collection.name == "scifact-demo"
    assert len(collection.queries) == 43
    assert len(collection.passages) == 782
    assert sum(len(judged) for judged in collection.qrels.values()) == 47
    text = (FOLDER / "LICENSE.md").read_text(encoding="utf-8")
    assert "43 scientific claims, 782 abstracts and 47 relevance judgements" in text
    for needed in ("CC BY 4.0", "ODC-By 1.0", "Wadden", "S2ORC"):
        assert needed in text


def test_nothing_dangles_and_every_abstract_has_a_title():
    collection = load_demo_collection()
    assert collection.num_dropped_queries == 0
    assert collection.num_dangling_judgements == 0
    assert all(collection.titles.values())
    for passage_id, text in collection.passages.items():
        assert text.startswith(collection.titles[passage_id])
        assert len(text) > len(collection.titles[passage_id])


def test_it_is_small_enough_to_ship():
    assert sum(path.stat().st_size for path in FOLDER.rglob("*")) < 600_000


def test_the_gzip_header_holds_no_time_and_no_name():
    header = (FOLDER / "corpus.jsonl.gz").read_bytes()[:10]
    assert header[3] == 0  # flags: no file name
    assert header[4:8] == bytes(4)  # modification time


@pytest.mark.skipif(not SCIFACT.is_dir(), reason="needs SciFact in ../shared/data/eval/scifact")
def test_the_script_makes_the_same_files_again(tmp_path):
    subprocess.run(
        [sys.executable, ROOT / "scripts" / "make-demo-data", SCIFACT, tmp_path], check=True
    )
    for name in ("queries.jsonl", "qrels/test.tsv"):
        assert (tmp_path / name).read_bytes() == (FOLDER / name).read_bytes()
    # The text, not the compressed bytes: those also depend on the version of zlib.
    assert gzip.decompress((tmp_path / "corpus.jsonl.gz").read_bytes()) == gzip.decompress(
        (FOLDER / "corpus.jsonl.gz").read_bytes()
    )
