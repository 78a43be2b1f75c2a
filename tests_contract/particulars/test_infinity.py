"""What only Infinity's generated client asks for."""

from infinity_client import Client
from infinity_client.api.default import rerank
from infinity_client.models import RerankInput

from tests_contract.examples import CAPITAL


def test_no_model_named(server):
    """It sends a name of its own then, which stands for none."""
    client = Client(base_url=server.url, headers={"Authorization": f"Bearer {server.key}"})
    body = RerankInput(query=CAPITAL.query, documents=list(CAPITAL.documents))
    answer = rerank.sync(client=client, body=body)
    assert answer is not None
    assert [item.index for item in answer.results] == [1, 0]
    assert answer.model == "pico"
    assert answer.usage.total_tokens > 0
