"""Results of a service, made up, and a check that an answer is what its model says."""

from kalm_reranker.scoring import score_from_margin
from kalm_reranker.server.calls import PairResult, ScoreResult
from tests.server.arithmetic import FACTS

__all__ = ["FACTS", "assert_fits", "result_of"]


def result_of(*margins, **more):
    """A result with these margins, in the order of the call's pairs."""
    pairs = tuple(PairResult(score_from_margin(m), score_from_margin(m), m) for m in margins)
    filled = {
        "texts": {},
        "truncated": (),
        "queries_truncated": (),
        "total_tokens": 30,
        "compression_ratio": 4,
        **more,
    }
    return ScoreResult(pairs=pairs, **filled)


def assert_fits(answer, model):
    """The answer has what the documented model says, and not a field more."""
    parsed = model.model_validate(answer, strict=True)
    assert parsed.model_dump(exclude_unset=True) == answer
