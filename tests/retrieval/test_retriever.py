from __future__ import annotations

from pathlib import Path

import pytest
from langchain_core.vectorstores import InMemoryVectorStore

from retrieval.encoder import item_text
from retrieval.retriever import CatalogueRetriever, EncoderEmbeddings, VectorStoreSearch, fill
from retrieval.search import Library
from retrieval.wish import Wish
from tests.retrieval.fakes import HashEncoder, MemoryCatalogue
from tests.retrieval.films import FILMS, film


@pytest.fixture
def library(tmp_path: Path) -> Library:
    return Library(MemoryCatalogue(FILMS), HashEncoder(), tmp_path / "index")


def test_documents_carry_the_items_fields_and_score(library: Library) -> None:
    retriever = CatalogueRetriever(library=library, wish=Wish(genres=("horror",)), k=5)
    documents = retriever.invoke("a motel")
    assert [document.id for document in documents] == ["psycho", "alien"]
    assert documents[0].metadata["title"] == "Psycho"
    assert documents[0].metadata["score"] > documents[1].metadata["score"]
    assert documents[0].page_content == item_text(FILMS[7])


async def test_asynchronous_retrieval_is_the_same(library: Library) -> None:
    retriever = CatalogueRetriever(library=library)
    assert await retriever.ainvoke("a submarine") == retriever.invoke("a submarine")


def test_another_vector_store_stands_in_for_faiss(
    library: Library, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("retrieval.retriever.EXACT_BELOW", 1)
    encoder = HashEncoder()
    store = InMemoryVectorStore(EncoderEmbeddings(encoder))
    fill(store, FILMS)
    other = Library(
        MemoryCatalogue(FILMS),
        encoder,
        tmp_path / "other",
        search_with=lambda index: VectorStoreSearch(store, index),
    )
    for wish in (Wish(about="mafia family"), Wish(like=("alien",), moods=("tense",)), Wish(genres=("drama",))):
        ours = [(one.item.id, pytest.approx(one.score, abs=1e-5)) for one in library.search(wish, k=4)]
        assert [(one.item.id, one.score) for one in other.search(wish, k=4)] == ours
    other.put([film("heat", "Heat", 1995, description="A thief and a policeman")])
    other.remove(["psycho"])
    ids = [one.item.id for one in other.search(Wish(about="A thief and a policeman"), k=20)]
    assert ids[0] == "heat"
    assert "psycho" not in ids
