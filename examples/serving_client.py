"""Ask a server from Python: rank, score, and what it says besides; then many queries at once.

    pip install "kalm-reranker[server,client]"
    kalm serve --model pico
    python examples/serving_client.py

docs/client.md says what else the clients can do.
"""
# ruff: noqa: T201 - what it shows is what it is for

import argparse
import asyncio

from kalm_reranker.client import AsyncKaLMClient, KaLMClient

QUERY = "What is the capital of China?"
DOCUMENTS = [
    "Gravity attracts bodies toward one another.",
    "The capital of China is Beijing.",
    "Shanghai is the largest city of China.",
]


def one_after_another(base_url: str) -> None:
    """Ranks and scores, each call waiting for its answer."""
    with KaLMClient(base_url) as client:
        print("models:", client.models())
        for result in client.rank(QUERY, DOCUMENTS, top_k=2, return_documents=True):
            print(f"{result['score']:.3f}  {result['text']}")
        pairs = [(QUERY, DOCUMENTS[1]), ("Why do apples fall?", DOCUMENTS[0])]
        print("scores:", [round(score, 3) for score in client.predict(pairs)])
        answer = client.rerank(QUERY, DOCUMENTS)
        print("tokens:", answer.total_tokens, "cut:", answer.truncated, answer.warnings)


async def at_once(base_url: str) -> None:
    """Ranks for several queries at the same time, which the server batches."""
    queries = [QUERY, "Which city is the largest?", "Why do apples fall?"]
    async with AsyncKaLMClient(base_url) as client:
        rankings = await asyncio.gather(*(client.rank(query, DOCUMENTS) for query in queries))
    for query, ranking in zip(queries, rankings, strict=True):
        print(f"{query} -> {DOCUMENTS[ranking[0]['corpus_id']]}")


def main() -> None:
    """Runs both."""
    parser = argparse.ArgumentParser(formatter_class=argparse.ArgumentDefaultsHelpFormatter)
    parser.add_argument("--base-url", default="http://127.0.0.1:8000")
    base_url = parser.parse_args().base_url
    one_after_another(base_url)
    asyncio.run(at_once(base_url))


if __name__ == "__main__":
    main()
