"""`run_demo` with the real model on little text, and how its report looks."""

import io
import json
import subprocess
import sys

import pytest
from rich.console import Console

from kalm_reranker.demo import run_demo
from kalm_reranker.demo_report import (
    BLEND,
    BM25,
    RERANKER,
    DemoExample,
    DemoReport,
    DemoResult,
    DemoTimes,
)
from kalm_reranker.demo_view import render_demo
from kalm_reranker.errors import InvalidOptionError, StoreExistsError


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("demo") / "index"


@pytest.fixture(scope="module")
def demo(folder):
    # Short passages and few candidates: seconds instead of a minute.
    stages = []
    report = run_demo(
        top_k=3, max_length=48, keep=folder, on_stage=stages.append, show_progress=False
    )
    return report, stages


def test_a_kept_index_is_not_built_again(demo, folder):
    report, _ = demo
    again = run_demo(top_k=3, max_length=48, keep=folder, show_progress=False)
    assert again.num_encoded == 0
    assert again.ndcg_at_10 == report.ndcg_at_10


def test_a_kept_index_of_another_ratio_is_refused(demo, folder):
    with pytest.raises(StoreExistsError, match="compression_ratio=2; asked for is"):
        run_demo(top_k=3, max_length=48, keep=folder, compression_ratio=4, show_progress=False)


def shown(report, width, encoding="utf-8"):
    buffer = io.TextIOWrapper(io.BytesIO(), encoding=encoding)
    render_demo(report, Console(file=buffer, width=width))
    buffer.seek(0)
    return buffer.read()


def made_report(**changes):
    def results(*marks):
        return tuple(
            DemoResult(passage_id=f"p{i}", title=f"Title {i} " + "long " * 40, relevant=mark)
            for i, mark in enumerate(marks)
        )

    example = DemoExample(
        reason="the first query",
        query="Zero-dimensional biomaterials [sic] show inductive properties.",
        num_relevant=2,
        ndcg={BM25: 0.0, RERANKER: 0.5, BLEND: 1.0},
        top={
            BM25: results(False, False, False),
            RERANKER: results(False, True),
            BLEND: results(True),
        },
    )
    values = {
        "collection": "scifact-demo",
        "model": "pico",
        "device": "cpu",
        "dtype": "float32",
        "compression_ratio": 2,
        "max_length": 512,
        "num_passages": 782,
        "num_queries": 43,
        "top_k": 100,
        "num_pairs": 4300,
        "num_encoded": 700,
        "num_truncated": 70,
        "num_queries_truncated": 7,
        "index_bytes": 78_200_000,
        "codec": "bf16",
        "ndcg_at_10": {BM25: 0.6576, RERANKER: 0.5643, BLEND: 0.6894},
        "times": DemoTimes(
            load_model_s=0.9,
            encode_s=35.0,
            store_s=0.3,
            first_stage_s=0.7,
            first_query_s=0.157,
            second_query_s=0.131,
            other_query_s=0.133,
            without_index_s=1.572,
        ),
        "examples": (example,),
    }
    return DemoReport(**(values | changes))


def test_the_report_adds_up(demo):
    report, stages = demo
    assert (report.model, report.num_queries, report.num_passages) == ("pico", 43, 782)
    assert 0 < report.num_pairs <= 43 * 3
    assert report.num_encoded == report.num_passages
    assert report.num_truncated <= report.num_passages
    assert report.max_length == 48
    assert report.index_bytes > 782 * 24 * 256 * 2
    assert set(report.ndcg_at_10) == {BM25, RERANKER, BLEND}
    assert all(0 < value < 1 for value in report.ndcg_at_10.values())
    assert all(seconds > 0 for seconds in vars(report.times).values())
    assert len(stages) == 4


def test_every_example_shows_three_lists_of_the_same_candidates(demo):
    report, _ = demo
    assert 1 <= len(report.examples) <= 2
    for example in report.examples:
        ids = [{result.passage_id for result in example.top[name]} for name in example.top]
        assert ids[0] == ids[1] == ids[2]  # top_k is 3, so the lists differ in order only
        assert example.num_relevant >= 1


def test_the_report_survives_json(demo):
    report, _ = demo
    again = json.loads(json.dumps(report.as_dict()))
    assert again["ndcg_at_10"] == report.ndcg_at_10
    assert again["examples"][0]["query"] == report.examples[0].query


def test_importing_the_demo_costs_no_torch():
    code = (
        "import kalm_reranker.demo, kalm_reranker.demo_view, sys; sys.exit('torch' in sys.modules)"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


def test_options_are_checked_before_any_work():
    with pytest.raises(InvalidOptionError, match="top_k must be a positive integer; got 0"):
        run_demo(top_k=0, on_stage=pytest.fail)


@pytest.mark.parametrize("width", [80, 120])
def test_no_line_is_wider_than_the_console(width):
    for line in shown(made_report(), width).splitlines():
        assert len(line) <= width


def test_numbers_and_marks_are_shown_as_they_are():
    text = shown(made_report(), 120)
    for part in (
        "0.658",
        "0.564",
        "-0.093",
        "0.689",
        "+0.032",
        "35.0 s",
        "50.0 ms each",
        "157 ms",
        "12 times",
    ):
        assert part in text
    assert "Alone, pico ranks below BM25 here;" in text
    assert "the sum of both z-scores, ranks above it." in " ".join(text.split())
    assert "[sic]" in text  # a query is text, not markup
    assert text.count("✓") == 2
    assert "(1.00)" in text


def test_a_worse_blend_is_called_worse():
    values = {BM25: 0.5, RERANKER: 0.5, BLEND: 0.25}
    text = " ".join(shown(made_report(ndcg_at_10=values, model="nano"), 80).split())
    assert "Alone, nano ranks level with BM25 here;" in text
    assert "ranks below it." in text
    assert "demonstration" not in text


def test_a_console_without_unicode_gets_ascii():
    text = shown(made_report(), 80, encoding="ascii")
    assert "* Title" in text
    assert "####" in text
    assert text.isascii()


def test_a_report_without_examples_is_shown():
    assert "Claim:" not in shown(made_report(examples=()), 80)


@pytest.mark.slow
def test_pico_alone_is_below_bm25_and_the_blend_above():
    quality = run_demo("pico").ndcg_at_10
    assert quality[RERANKER] < quality[BM25] < quality[BLEND]
