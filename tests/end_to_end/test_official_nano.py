"""The scores printed on Nano's model card. Needs the model hub: run with -m network."""

import pytest

from kalm_reranker import KaLMReranker
from kalm_reranker.errors import CheckpointUnavailableError

QUERY = "What is the capital of China?"
DOCUMENTS = [
    "The capital of China is Beijing.",
    "Gravity attracts bodies toward one another.",
]
CARD_MARGINS = (8.625, -12.25)  # bfloat16; the printed scores are their sigmoids
# 0.1 as bfloat16 kernels differ, and 1/8 because the card's logits are rounded and ours are not.
TOLERANCE = 0.1 + 0.125


@pytest.mark.network
def test_nano_gives_the_scores_of_its_model_card():
    try:
        nano = KaLMReranker("nano", dtype="bfloat16")
    except CheckpointUnavailableError as error:
        pytest.skip(f"the model hub cannot be reached: {error.message}")
    ranked = nano.rank(QUERY, DOCUMENTS, return_margin=True)
    assert [result["corpus_id"] for result in ranked] == [0, 1]
    assert [result["margin"] for result in ranked] == pytest.approx(CARD_MARGINS, abs=TOLERANCE)
    assert ranked[0]["score"] == pytest.approx(0.9998205304145813, abs=5e-5)
