"""Reports that several tests look at, each written once."""

import pytest

from kalm_reranker.evaluation.report import write_report
from tests.evaluation.report.evaluations import SETS, evaluation


@pytest.fixture(scope="session")
def full():
    """Twelve rankers on nineteen sets, with everything."""
    return evaluation()


@pytest.fixture(scope="session")
def written(full, tmp_path_factory):
    """The report of `full`."""
    return write_report(full, tmp_path_factory.mktemp("full"))


@pytest.fixture(scope="session")
def three_sets():
    return {name: SETS[name] for name in ("cisi", "scifact", "xquad-zh")}
