"""LangChain at both ends: the library as a retriever, and any LangChain vector store in FAISS's place."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable
from itertools import islice

import numpy as np
from langchain_core.callbacks import AsyncCallbackManagerForRetrieverRun, CallbackManagerForRetrieverRun
from langchain_core.documents import Document
from langchain_core.embeddings import Embeddings
from langchain_core.retrievers import BaseRetriever
from langchain_core.vectorstores import VectorStore
from pydantic import ConfigDict, Field

from retrieval.ann import BoolArray, FloatArray, IntArray
from retrieval.encoder import Encoder, item_text
from retrieval.index import EXACT_BELOW, VectorIndex
from retrieval.item import Item
from retrieval.search import Library
from retrieval.wish import Wish

_BATCH = 256


class CatalogueRetriever(BaseRetriever):
    """Items of a library as documents, best first, by free text and a wish that holds for every query."""

    model_config = ConfigDict(arbitrary_types_allowed=True)

    library: Library
    wish: Wish = Field(default_factory=Wish)
    k: int = Field(20, ge=1)

    def _get_relevant_documents(self, query: str, *, run_manager: CallbackManagerForRetrieverRun) -> list[Document]:
        found = self.library.search(self.wish, query, self.k)
        return [item_document(candidate.item, candidate.score) for candidate in found]

    async def _aget_relevant_documents(
        self, query: str, *, run_manager: AsyncCallbackManagerForRetrieverRun
    ) -> list[Document]:
        return await asyncio.to_thread(self._get_relevant_documents, query, run_manager=run_manager.get_sync())


class EncoderEmbeddings(Embeddings):
    """The library's encoder for a LangChain vector store, which must embed with no other."""

    def __init__(self, encoder: Encoder) -> None:
        self._encoder = encoder

    def embed_documents(self, texts: list[str]) -> list[list[float]]:
        """Unit vectors of ``texts``."""
        return [[float(value) for value in vector] for vector in self._encoder.encode(texts)]

    def embed_query(self, text: str) -> list[float]:
        """The unit vector of ``text``."""
        return self.embed_documents([text])[0]


class VectorStoreSearch:
    """Finds rows of an index through a LangChain vector store: a `retrieval.index.VectorSearch`.

    The store proposes items; filters and exact scores come from the index's own vectors, so a store needs no filter
    language. It is asked for more until enough of what it proposes is allowed. A filter that leaves few rows, and
    items added since the index was built, are searched exactly without the store::

        store = QdrantVectorStore(..., embedding=EncoderEmbeddings(encoder))
        fill(store, catalogue)
        library = Library.open(home, encoder, search_with=lambda index: VectorStoreSearch(store, index))
    """

    def __init__(self, store: VectorStore, index: VectorIndex) -> None:
        self._store = store
        self._index = index

    def search(self, queries: FloatArray, k: int, allowed: BoolArray | None = None) -> tuple[IntArray, FloatArray]:
        """See `retrieval.index.VectorSearch.search`."""
        index = self._index
        mask = index.alive if allowed is None else allowed & index.alive
        added = index.main_rows + np.flatnonzero(mask[index.main_rows :])
        count = int(np.count_nonzero(mask[: index.main_rows]))
        rows = np.full((len(queries), k), -1, dtype=np.int64)
        scores = np.full((len(queries), k), -np.inf, dtype=np.float32)
        for place, query in enumerate(queries):
            near = np.flatnonzero(mask) if count <= EXACT_BELOW else self._proposed(query, k, mask, count)
            top, top_scores = index.rescore(query, np.union1d(near, added), k)
            rows[place, : len(top)], scores[place, : len(top)] = top, top_scores
        return rows, scores

    def _proposed(self, query: FloatArray, k: int, mask: BoolArray, count: int) -> IntArray:
        """At least ``k`` allowed rows, or all that the store finds."""
        vector = [float(value) for value in query]
        asked = 2 * k
        while True:
            documents = self._store.similarity_search_by_vector(vector, k=asked)
            rows = {row for document in documents if (row := self._row(document)) is not None and mask[row]}
            if len(rows) >= min(k, count) or len(documents) < asked or asked >= len(self._index):
                return np.array(sorted(rows), dtype=np.int64)
            asked *= 4

    def _row(self, document: Document) -> int | None:
        return self._index.row(str(document.metadata.get("id", document.id)))


def item_document(item: Item, score: float | None = None) -> Document:
    """``item`` as a document: its text, and its fields (with ``score`` when given) as metadata."""
    metadata = item.model_dump(mode="json", exclude_none=True)
    if score is not None:
        metadata["score"] = score
    return Document(id=item.id, page_content=item_text(item), metadata=metadata)


def fill(store: VectorStore, items: Iterable[Item]) -> None:
    """Writes ``items`` to a LangChain vector store, each under its own id."""
    source = iter(items)
    while batch := list(islice(source, _BATCH)):
        store.add_documents([item_document(item) for item in batch], ids=[item.id for item in batch])
