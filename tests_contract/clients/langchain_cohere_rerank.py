"""langchain-cohere's CohereRerank."""

from collections.abc import Sequence
from typing import Any

import cohere
from langchain_core.documents import Document

from tests_contract.client import Client, Ranked


def _wrap(documents: Sequence[str]) -> list[Document]:
    return [Document(text) for text in documents]


def _read(answer: Any, documents: Sequence[str]) -> list[Ranked]:  # noqa: ANN401
    return [
        Ranked(documents.index(item.page_content), item.metadata["relevance_score"])
        for item in answer
    ]


CLIENTS = [
    Client(
        name="langchain-cohere CohereRerank",
        package="langchain-cohere",
        path="/v2/rerank",
        imports="from langchain_cohere import CohereRerank",
        setup='client = CohereRerank(model="pico", base_url=URL, cohere_api_key=KEY, top_n=top_n)',
        call="client.compress_documents(documents, query)",
        wrap=_wrap,
        read=_read,
        unauthorized=(cohere.UnauthorizedError,),
        overloaded=(cohere.TooManyRequestsError,),
        retries=True,
    )
]
