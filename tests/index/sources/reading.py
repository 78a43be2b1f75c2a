"""What the tests of all sources share: files of given content, and what is read from them."""

import gzip

from kalm_reranker.index.sources.open import open_source
from kalm_reranker.index.sources.record import SourceProblem
from kalm_reranker.store.passage import Passage


def write(path, content, *, gzipped=False):
    data = content.encode("utf-8") if isinstance(content, str) else content
    path.parent.mkdir(parents=True, exist_ok=True)
    if gzipped:
        path = path.with_name(f"{path.name}.gz")
        data = gzip.compress(data)
    path.write_bytes(data)
    return path


def read(location, **options):
    """Returns (passages, messages of problems, places of problems) of a location."""
    passages, problems = [], []
    for record in open_source(str(location), **options):
        (problems if isinstance(record, SourceProblem) else passages).append(record)
    return passages, [str(problem.error) for problem in problems], [p.where for p in problems]


def read_all(location, **options):
    """Returns the passages of a location that has no problems."""
    passages, problems, _ = read(location, **options)
    assert problems == []
    return passages


def pairs(passages):
    assert all(isinstance(passage, Passage) for passage in passages)
    return [(passage.id, passage.text) for passage in passages]
