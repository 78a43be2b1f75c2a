"""The header of a table of queries is no query."""

import pytest

from kalm_reranker.search.run_files import read_queries


@pytest.mark.parametrize("header", ["id\ttext\n", "query_id\tQuery\n", ""])
def test_a_header_is_left_out(tmp_path, header):
    path = tmp_path / "queries.tsv"
    path.write_text(f"{header}q1\tTesla\nq2\ttext\n")
    assert read_queries(path) == {"q1": "Tesla", "q2": "text"}
