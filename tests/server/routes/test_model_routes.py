"""GET /v1/models and /info through the app."""

from kalm_reranker.server.settings import Limits
from kalm_reranker.server.wire.info import Info
from kalm_reranker.server.wire.model_list import ModelList, ServedModel
from tests.server.wire.results import assert_fits


def test_models_are_listed_and_found(serve):
    client = serve(served_model_names=("team/reranker",))
    listed = client.get("/v1/models").json()
    assert_fits(listed, ModelList)
    assert [model["id"] for model in listed["data"]] == ["pico", "team/reranker"]
    for name in ("pico", "team/reranker", "team%2Freranker"):
        assert_fits(client.get(f"/v1/models/{name}").json(), ServedModel)
    for path in ("/v1/models/other", "/v1/models/"):
        assert client.get(path).status_code == 404


def test_info_is_what_teis_clients_and_people_read(serve):
    client = serve(api_keys=("secret-key",), limits=Limits(max_documents=7))
    assert client.get("/info").status_code == 401
    response = client.get("/info", headers={"authorization": "Bearer secret-key"})
    info = response.json()
    assert_fits(info, Info)
    assert (info["model_id"], info["max_client_batch_size"]) == ("pico", 7)
    assert info["max_input_length"] == info["model"]["max_length"]
    assert "secret-key" not in response.text
