"""langchain-community's InfinityRerank, on Infinity's own generated client."""

from collections.abc import Sequence
from typing import Any

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
        name="langchain-community InfinityRerank",
        package="langchain-community",
        path="/rerank",
        imports=(
            "from infinity_client import Client\n"
            "from langchain_community.document_compressors import InfinityRerank"
        ),
        setup=(
            'infinity = Client(base_url=URL, headers={"Authorization": "Bearer " + KEY})\n'
            'client = InfinityRerank(client=infinity, model="pico", top_n=top_n)'
        ),
        call="client.compress_documents(documents, query)",
        wrap=_wrap,
        read=_read,
        # infinity_client turns a status it does not expect into None, which has no results.
        unauthorized=(TypeError,),
        overloaded=(TypeError,),
        note="Asks for all documents and cuts the ranking itself.",
    )
]
