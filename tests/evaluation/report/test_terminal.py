import io

import pytest
from rich.cells import cell_len
from rich.console import Console

from kalm_reranker.evaluation.report import render_table
from kalm_reranker.evaluation.report.terminal import parts
from tests.evaluation.report.evaluations import evaluation, first_stage, kalm, many_rankers


def printed(found, width=80):
    file = io.StringIO()
    render_table(found, Console(file=file, width=width))
    return file.getvalue()


@pytest.mark.parametrize("width", [60, 80, 120])
def test_every_number_is_there_whole(width):
    found = evaluation(many_rankers())
    text = printed(found, width)
    assert all(cell_len(line) <= width for line in text.splitlines())
    for one in found.measurements:
        assert f"{one.measures['nDCG@10']:.4f}" in text
    for name in ("cisi", "dbpedia-entity", "mean of 19"):
        lines = [line for line in text.splitlines() if line.startswith(name)]
        numbers = sum(line.count("0.") for line in lines)
        assert numbers == len(found.rankers) + len(lines) - 1  # the first ranker in each part


def test_twelve_rankers_fit_eighty_columns_in_two_parts(full):
    lines = printed(full).splitlines()
    assert sum(line.startswith("scifact") for line in lines) == 2
    assert lines[0] == "nDCG@10 on 19 sets"
    assert "bm25s, k1 0.9, b 0.4" in lines[1]


def test_few_rankers_stand_in_one_table():
    found = evaluation([first_stage(), kalm("pico", 2)], {"x": 0.5}, compare=False)
    text = printed(found)
    assert text.count("BM25") == 1
    assert "mean of" not in text
    assert "▲" not in text


def test_names_are_no_markup():
    name = "[red]x[/red] a"
    found = evaluation([first_stage(), kalm("pico", 2, name=name)], {"[bold]y": 0.5})
    text = printed(found)
    assert "[red]x[/red]" in text
    assert "[bold]y" in text


def test_each_part_has_the_first_column_and_at_least_one_more():
    names = ["BM25", "a-very-long-name-indeed", "b", "c"]
    assert parts(names, 20, 30) == [[0, 1], [0, 2], [0, 3]]
    assert parts(names, 20, 200) == [[0, 1, 2, 3]]
    assert parts(["BM25"], 20, 30) == [[0]]
    assert parts([], 20, 30) == []


def test_an_evaluation_without_rankers_is_no_error(full):
    from dataclasses import replace

    empty = replace(full, rankers=(), datasets=(), measurements=(), comparisons=())
    assert "on 0 sets" in printed(empty)
