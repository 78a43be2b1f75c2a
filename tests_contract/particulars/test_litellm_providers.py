"""What only LiteLLM asks for, and what it cannot do."""

import litellm
import pytest

from tests_contract import plain
from tests_contract.examples import CAPITAL, HONEY


def test_infinity_cannot_return_documents(server):
    """Noted in docs/clients-tested.md; where this fails, the note is out of date."""
    with pytest.raises(litellm.APIConnectionError, match="document"):
        litellm.rerank(
            model="infinity/pico",
            query=CAPITAL.query,
            documents=list(CAPITAL.documents),
            api_base=server.url,
            api_key=server.key,
            return_documents=True,
        )


def test_an_instruction_reaches_the_model(server):
    instruction = "Given a question about physics, find what answers it."
    answer = litellm.rerank(
        model="hosted_vllm/pico",
        query=HONEY.query,
        documents=list(HONEY.documents),
        api_base=server.url,
        api_key=server.key,
        instruction=instruction,
    )
    _, expected = plain.request(
        f"{server.url}/rerank",
        server.key,
        {"query": HONEY.query, "documents": HONEY.documents, "instruction": instruction},
    )
    assert [item["relevance_score"] for item in answer.results] == pytest.approx(
        [item["relevance_score"] for item in expected["results"]], abs=1e-6
    )
    without = plain.scores(server.url, server.key, HONEY.query, HONEY.documents)
    assert answer.results[0]["relevance_score"] != pytest.approx(max(without), abs=1e-4)
