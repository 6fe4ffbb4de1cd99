# mypy: ignore-errors
"""What applications of Cohere's SDK and of LangChain's package for it do to rank documents."""

import asyncio

import cohere
from langchain_cohere import CohereRerank
from langchain_core.documents import Document

from tests.clients.programs import examples

HOST = examples.base_url().removesuffix("/v1")
QUERY, DOCUMENTS = "red rose", ["green grass", "red rose", "one rose"]
ASK = {"query": QUERY, "documents": DOCUMENTS}


def newer():
    reply = cohere.ClientV2(examples.KEY, base_url=HOST).rerank(model="fake-ranker", top_n=2, **ASK)
    return {"id": reply.id, "results": [[item.index, item.relevance_score] for item in reply.results]}


def newer_awaited():
    async def ask():
        async with cohere.AsyncClientV2(examples.KEY, base_url=HOST) as client:
            return await client.rerank(model="fake-ranker", **ASK)

    return [item.index for item in asyncio.run(ask()).results]


def older():
    client = cohere.Client(examples.KEY, base_url=HOST)
    reply = client.rerank(
        model="fake-embedder",
        query=QUERY,
        documents=[{"text": text, "title": text.title()} for text in DOCUMENTS],
        rank_fields=["text"],
        return_documents=True,
    )
    return [[item.index, item.document.text, item.document.title] for item in reply.results]


def refused():
    client = cohere.ClientV2(examples.KEY, base_url=HOST)
    try:
        client.rerank(model=examples.MODEL, **ASK)
    except cohere.ForbiddenError as error:
        return error.body["error"]["message"]


def langchain():
    ranker = CohereRerank(cohere_api_key=examples.KEY, base_url=HOST, model="fake-ranker", top_n=1)
    found = ranker.compress_documents([Document(text) for text in DOCUMENTS], QUERY)
    return [[document.page_content, document.metadata["relevance_score"]] for document in found]


if __name__ == "__main__":
    examples.run(newer, newer_awaited, older, refused, langchain)
