"""The catalogue's routes, over a small real library."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import httpx
import pytest

from retrieval.search import Library
from tests.api.fakes import ScriptedAssistant, app_with, client_of
from tests.retrieval.fakes import HashEncoder, MemoryCatalogue
from tests.retrieval.films import FILMS


@pytest.fixture
def library(tmp_path: Path) -> Library:
    return Library(MemoryCatalogue(FILMS), HashEncoder(), tmp_path / "index")


async def ask(library: Library, method: str, path: str, **options: Any) -> httpx.Response:
    async with client_of(app_with(ScriptedAssistant(), library=library)) as client:
        return await client.request(method, path, **options)


async def found(library: Library, **params: Any) -> dict[str, Any]:
    answer = await ask(library, "GET", "/v1/items", params=params)
    assert answer.status_code == 200, answer.text
    return answer.json()


def ids(answer: dict[str, Any]) -> list[str]:
    return [item["id"] for item in answer["data"]]


async def test_items_are_found_by_text_nearest_first(library: Library) -> None:
    answer = await found(library, query="Psycho, the motel", limit=3)
    assert answer["object"] == "list"
    assert ids(answer)[0] == "psycho"
    scores = [item["score"] for item in answer["data"]]
    assert scores == sorted(scores, reverse=True)
    psycho = next(item for item in FILMS if item.id == "psycho")
    assert answer["data"][0] == {**psycho.model_dump(mode="json"), "score": scores[0]}


async def test_without_text_the_best_known_come_first(library: Library) -> None:
    famous = max(FILMS, key=lambda item: item.popularity)
    assert ids(await found(library, limit=1)) == [famous.id]


async def test_pages_join_without_gap_or_repeat(library: Library) -> None:
    whole = await found(library, query="a space crew", limit=50)
    assert len(whole["data"]) == len(FILMS)
    assert not whole["has_more"]
    pages, offset = [], 0
    while True:
        page = await found(library, query="a space crew", limit=4, offset=offset)
        pages += ids(page)
        offset += 4
        if not page["has_more"]:
            break
    assert pages == ids(whole)
    assert ids(await found(library, query="a space crew", offset=199)) == []


@pytest.mark.parametrize(
    ("filters", "holds"),
    [
        ({"genres": ["horror", "science fiction"]}, lambda item: {"horror", "science fiction"} <= set(item["genres"])),
        ({"not_genres": "drama"}, lambda item: "drama" not in item["genres"]),
        ({"year_from": 1970, "year_to": 1979}, lambda item: 1970 <= (item["year"] or 0) <= 1979),
        ({"people": "ridley scott"}, lambda item: ["Ridley Scott"] in item["people"].values()),
        ({"kind": "film"}, lambda item: item["kind"] == "film"),
    ],
    ids=lambda value: ",".join(value) if isinstance(value, dict) else "",
)
async def test_hard_filters_hold(library: Library, filters: dict[str, Any], holds: Any) -> None:
    answer = await found(library, query="a crew in space", limit=50, **filters)
    assert answer["data"]
    assert all(holds(item) for item in answer["data"])


@pytest.mark.parametrize(
    ("params", "param"),
    [
        ({"limit": 0}, "limit"),
        ({"limit": 51}, "limit"),
        ({"offset": 200}, "offset"),
        ({"genre": "drama"}, "genre"),
        ({"year_to": "soon"}, "year_to"),
        ({"query": "x" * 401}, "query"),
        ({"year_from": 1990, "year_to": 1980}, "year_to"),
    ],
)
async def test_a_malformed_query_is_refused_by_the_name_of_its_field(
    library: Library, params: dict[str, Any], param: str
) -> None:
    answer = await ask(library, "GET", "/v1/items", params=params)
    assert (answer.status_code, answer.json()["error"]["param"]) == (400, param)


@pytest.mark.parametrize(
    ("query", "first"),
    [
        ("godfather part 2", ["godfather-2"]),
        ("the godfather", ["godfather"]),
        ("anything by Alfred Hitchcock", ["psycho", "vertigo"]),
    ],
)
async def test_what_the_text_names_comes_first(library: Library, query: str, first: list[str]) -> None:
    answer = ids(await found(library, query=query, limit=50))
    assert set(answer[: len(first)]) == set(first)
    assert len(set(answer)) == len(answer) == len(FILMS)


async def test_what_the_text_names_holds_to_the_filters(library: Library) -> None:
    answer = await found(library, query="the godfather by Alfred Hitchcock", genres="comedy")
    assert all("comedy" in item["genres"] for item in answer["data"])


@pytest.mark.parametrize(
    ("said", "own"),
    [
        ({"genres": "sci-fi"}, {"genres": "science fiction"}),
        ({"countries": "USA"}, {"countries": "united states"}),
        ({"people": "Ridley Skott"}, {"people": "Ridley Scott"}),
        ({"not_genres": "sci-fi"}, {"not_genres": "science fiction"}),
    ],
)
async def test_a_known_way_to_say_a_value_stands_for_it(
    library: Library, said: dict[str, str], own: dict[str, str]
) -> None:
    assert ids(await found(library, **said)) == ids(await found(library, **own))


async def test_the_values_to_filter_by_are_those_that_occur(library: Library) -> None:
    values = (await ask(library, "GET", "/v1/items:facets")).json()
    assert values["genres"] == sorted({genre for item in FILMS for genre in item.genres})
    assert set(values) == {"object", "genres", "moods", "countries", "languages", "kinds"}
    for genre in values["genres"]:
        assert (await found(library, genres=genre))["data"]


async def test_neighbours_are_found_and_never_the_items_themselves(library: Library) -> None:
    body = {"ids": ["alien"], "limit": 3}
    answer = (await ask(library, "POST", "/v1/items:similar", json=body)).json()
    near = ids(answer)
    assert len(near) == 3
    assert "alien" not in near
    assert answer["has_more"]
    fewer = (await ask(library, "POST", "/v1/items:similar", json={**body, "exclude": near})).json()
    assert not set(near) & set(ids(fewer))


async def test_neighbours_hold_filters(library: Library) -> None:
    body = {"ids": ["alien", "psycho"], "genres": ["drama"], "limit": 50}
    answer = (await ask(library, "POST", "/v1/items:similar", json=body)).json()
    assert answer["data"]
    assert all("drama" in item["genres"] for item in answer["data"])


async def test_an_unknown_item_has_no_neighbours_but_a_404(library: Library) -> None:
    answer = await ask(library, "POST", "/v1/items:similar", json={"ids": ["alien", "nothing"]})
    assert answer.status_code == 404
    assert "'nothing'" in answer.json()["error"]["message"]


@pytest.mark.parametrize("body", [{}, {"ids": []}, {"ids": ["a"] * 21}, {"ids": ["alien"], "like": []}])
async def test_a_malformed_request_for_neighbours_is_refused(library: Library, body: dict[str, Any]) -> None:
    assert (await ask(library, "POST", "/v1/items:similar", json=body)).status_code == 400
