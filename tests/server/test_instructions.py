"""How long a request's instruction may be, whatever it asks for."""

import asyncio

import pytest

from kalm_reranker.server.calls import DocumentInput, ScoreCall, SearchCall
from kalm_reranker.server.failures import failure_of
from kalm_reranker.server.instructions import check_instruction
from kalm_reranker.server.request_errors import InvalidRequestError
from tests.server.held import soon
from tests.server.small_service import QUERY, Small


@pytest.fixture(scope="module")
def small(tmp_path_factory):
    return Small(tmp_path_factory.mktemp("small"))


def of_tokens(tokenizer, count):
    """An instruction of so many tokens."""
    text = "a"
    while tokenizer.count_tokens(text) < count:
        text += " a"
    assert tokenizer.count_tokens(text) == count
    return text


@pytest.mark.parametrize("what", ["score", "search"])
def test_one_that_is_too_long_is_refused_before_the_model_sees_it(small, tmp_path, what):
    tokenizer = small.alone.pipeline.tokenizer
    fits, does_not = (of_tokens(tokenizer, count) for count in (20, 21))

    async def ask(instruction):
        if what == "search":
            return await service.search(SearchCall(query=QUERY, instruction=instruction), soon())
        call = ScoreCall(
            queries=(QUERY,),
            documents=(DocumentInput(text="a"),),
            pairs=((0, 0),),
            instruction=instruction,
        )
        return await service.score(call, soon())

    with small.service(small.index(tmp_path / "index"), max_instruction_tokens=20) as service:
        assert asyncio.run(ask(fits))
        steps = service.counts()["steps"]
        with pytest.raises(InvalidRequestError, match="instruction has more than 20 tokens") as got:
            asyncio.run(ask(does_not))
        assert service.counts()["steps"] == steps
    failure = failure_of(got.value)
    assert (failure.status, failure.code, failure.param) == (400, "too_long", "instruction")


def test_one_that_is_far_too_long_is_not_even_tokenized():
    with pytest.raises(InvalidRequestError):
        check_instruction(None, "a" * 10_000_000, 1_024)
