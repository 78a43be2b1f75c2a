"""However long a source is, memory stays the same."""

import gzip
import subprocess
import sys
import tracemalloc

import pytest

from kalm_reranker.index.sources.open import open_source

RECORDS = 50_000
BOUND_BYTES = 2**20  # the files hold 5 MB and more
FILLER = "some words of a passage " * 4


def peak_of_reading(path):
    tracemalloc.start()
    try:
        count = sum(1 for _ in open_source(str(path)))
        return count, tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()


@pytest.mark.parametrize("name", ["x.jsonl", "x.jsonl.gz", "x.tsv", "x.csv"])
def test_lines_are_not_kept(tmp_path, name):
    path = tmp_path / name
    line = {
        ".jsonl": '{{"id": "{}", "text": "{}"}}\n',
        ".tsv": "{}\t{}\n",
        ".csv": '{},"{}"\n',
    }[path.with_suffix("").suffix or path.suffix]
    opener = gzip.open if path.suffix == ".gz" else open
    with opener(path, "wt") as file:
        if name == "x.csv":
            file.write("id,text\n")
        file.writelines(line.format(number, FILLER) for number in range(RECORDS))
    count, peak = peak_of_reading(path)
    assert count == RECORDS
    assert peak < BOUND_BYTES


def test_problems_do_not_keep_their_lines(tmp_path):
    path = tmp_path / "x.jsonl"
    with path.open("wb") as file:
        file.writelines(b'{"id": "1", "text": "%s\xff"}\n' % (b"x" * 10_000) for _ in range(2_000))
    tracemalloc.start()
    try:
        problems = list(open_source(str(path)))
        assert tracemalloc.get_traced_memory()[0] < 2 * BOUND_BYTES
    finally:
        tracemalloc.stop()
    assert len(problems) == 2_000


MEASURE = """
import resource, sys
import pyarrow.parquet
from kalm_reranker.index.sources.open import open_source

before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
assert sum(1 for _ in open_source(sys.argv[1])) == 20_000
print((resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) // 1024)
"""


@pytest.mark.skipif(sys.platform != "linux", reason="ru_maxrss has another unit elsewhere")
def test_a_large_row_group_is_not_kept(tmp_path):
    pa = pytest.importorskip("pyarrow")
    pq = pytest.importorskip("pyarrow.parquet")
    path = tmp_path / "x.parquet"
    texts = [f"{row} {FILLER}" * 60 for row in range(20_000)]
    table = pa.table({"id": range(20_000), "text": texts})
    pq.write_table(table, path, compression="none", use_dictionary=False)
    assert path.stat().st_size > 110 * 2**20
    # Arrow keeps its memory outside of Python; only the process as a whole shows it.
    command = [sys.executable, "-c", MEASURE, str(path)]
    grown_mib = int(subprocess.run(command, capture_output=True, check=True).stdout)
    assert grown_mib < 70
