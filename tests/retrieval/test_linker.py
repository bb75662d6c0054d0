from __future__ import annotations

import random
import time

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from retrieval.item import Item
from retrieval.linker import Linker, Mention
from tests.retrieval.films import FILMS, film

MORE = (
    film("inception", "Inception", 2010, people={"director": ("Christopher Nolan",)}, popularity=95),
    film("jurassic-park", "Jurassic Park", 1993, people={"director": ("Steven Spielberg",)}, popularity=93),
    film("dune-1984", "Dune", 1984, people={"director": ("David Lynch",)}, popularity=50),
    film("dune-2021", "Dune", 2021, people={"director": ("Denis Villeneuve",)}, popularity=85),
    film("avventura", "L'Avventura", 1960, languages=("italian",), popularity=40),
    film("pulp-fiction", "Pulp Fiction", 1994, people={"director": ("Quentin Tarantino",)}, popularity=96),
    film("jackie-brown", "Jackie Brown", 1997, people={"director": ("Quentin Tarantino",)}, popularity=60),
    film("shining", "The Shining", 1980, people={"director": ("Stanley Kubrick",)}, popularity=90),
    film("space-odyssey", "2001: A Space Odyssey", 1968, people={"director": ("Stanley Kubrick",)}, popularity=89),
    film("butch", "Butch Cassidy & the Sundance Kid", 1969, popularity=70),
    film("ugly", "The Good, the Bad and the Ugly", 1966, popularity=91),
    film("it", "It", 2017, popularity=70),
    film("her", "Her", 2013, popularity=72),
    film("up", "Up", 2009, popularity=88),
    film("us", "Us", 2019, popularity=60),
    film("big", "Big", 1988, popularity=65),
    film("home", "Home", 2015, popularity=30),
    film("drive", "Drive", 2011, popularity=77),
    film("heat", "Heat", 1995, people={"cast": ("Al Pacino", "Robert De Niro")}, popularity=83),
    film("star-wars", "Star Wars", 1977, popularity=99),
    film("empire", "Star Wars: Episode V - The Empire Strikes Back", 1980, popularity=97),
    film("spider-man", "Spider-Man", 2002, popularity=80),
    film("sunshine", "Eternal Sunshine of the Spotless Mind", 2004, popularity=86),
    film("rocky-2", "Rocky II", 1979, popularity=55),
    film("capote", "Do the Right Thing", 1989, people={"director": ("Spike Lee",)}, popularity=60),
    film("crouching", "Crouching Tiger, Hidden Dragon", 2000, people={"director": ("Ang Lee",)}, popularity=75),
)


@pytest.fixture(scope="module")
def linker() -> Linker:
    return Linker([*FILMS, *MORE])


def said(mention: Mention) -> str:
    return mention.ids[0] if mention.kind == "title" else mention.name


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("I liked Incepton and Jurasic Park", ["inception", "jurassic-park"]),
        ("something by tarentino", ["Quentin Tarantino"]),
        ("Godfather was great", ["godfather"]),
        ("is the godfather 2 better?", ["godfather-2"]),
        ("The Godfather, part two", ["godfather-2"]),
        ("rocky 2", ["rocky-2"]),
        ("Avventura or L'avventura", ["avventura", "avventura"]),
        ("I saw Boot, the German one", ["das-boot"]),
        ("Amelie please", ["amelie"]),
        ("le fabuleux destin d'amelie poulain", ["amelie"]),
        ("tonari no totoro", ["totoro"]),
        ("My Neighbour Totoro", ["totoro"]),
        ("butch cassidy and the sundance kid", ["butch"]),
        ("the good the bad & the ugly", ["ugly"]),
        ("ALIEN!!", ["alien"]),
        ("spiderman", ["spider-man"]),
        ("was star wars made before the empire strikes back?", ["star-wars", "empire"]),
        ("eternal sunshine", ["sunshine"]),
        ("kubrick's the shining", ["Stanley Kubrick", "shining"]),
        ("crouching tiger", ["crouching"]),
    ],
)
def test_titles_and_people_are_found_however_they_are_written(linker: Linker, text: str, expected: list[str]) -> None:
    assert [said(mention) for mention in linker.link(text)] == expected


@pytest.mark.parametrize(
    ("text", "first", "surface"),
    [
        ("I love Solaris", "solaris-1972", "Solaris"),
        ("I love Solaris (2002)", "solaris-2002", "Solaris (2002)"),
        ("I love Solaris (1972) most", "solaris-1972", "Solaris (1972)"),
        ("dune", "dune-2021", "dune"),
        ("dune 1984 was odd", "dune-1984", "dune 1984"),
        ("not the 2021 Dune", "dune-2021", "2021 Dune"),
        ("the 1984 version of Dune", "dune-1984", "1984 version of Dune"),
    ],
)
def test_ambiguous_titles_go_by_year_or_popularity(linker: Linker, text: str, first: str, surface: str) -> None:
    (mention,) = linker.link(text)
    assert (mention.ids[0], mention.surface, len(mention.ids)) == (first, surface, 2)


@pytest.mark.parametrize(
    "text",
    [
        "I love it, it was big at home",
        "her mother told us to drive up",
        "what's up? it is us and her",
        "I like big explosions",
        "I like alien movies",
        "turn up the heat at home",
        "It was sad. Her eyes. Up there. Home.",
        "a big home, a long drive",
        "I want to watch it with her",
        "something for us at home tonight",
        "thanks, that's good",
        "a film from 2001 with a star",
        "a story of love and war",
        "we rafted down the Drive River",
        "END OF THE HOME GAME",
        "No I have not",
    ],
)
def test_plain_words_are_not_titles(linker: Linker, text: str) -> None:
    assert linker.link(text) == []


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("I loved Heat and Up", ["heat", "up"]),
        ("loved heat and drive", ["heat", "drive"]),
        ('have you seen "It"?', ["it"]),
        ("I have seen It", ["it"]),
        ("heat (1995)", ["heat"]),
        ("up 2009", ["up"]),
        ("something like alien", ["alien"]),
        ("similar to drive", ["drive"]),
        ("we watched Us and Her", ["us", "her"]),
        ("a film like 'Big' maybe", ["big"]),
        ("Drive", ["drive"]),
    ],
)
def test_titles_of_plain_words_are_linked_where_they_are_meant(linker: Linker, text: str, expected: list[str]) -> None:
    assert [said(mention) for mention in linker.link(text)] == expected


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("anything with sigourney weaver", ["Sigourney Weaver"]),
        ("Alfred Hichcock", ["Alfred Hitchcock"]),
        ("films by kubrick", ["Stanley Kubrick"]),
        ("I adore Hitchcock", ["Alfred Hitchcock"]),
        ("starring De Niro", ["Robert De Niro"]),
        ("films by Lee", []),
        ("robert deniro", ["Robert De Niro"]),
        ("directed by Spike Lee", ["Spike Lee"]),
    ],
)
def test_people_are_linked_by_full_name_or_well_known_surname(linker: Linker, text: str, expected: list[str]) -> None:
    assert [said(mention) for mention in linker.link(text)] == expected


def test_the_longest_name_wins(linker: Linker) -> None:
    (mention,) = linker.link("I saw The Godfather Part II")
    assert (mention.surface, mention.ids) == ("The Godfather Part II", ("godfather-2",))


def test_items_come_and_go() -> None:
    linker = Linker(FILMS)
    assert linker.link("have you seen Inception") == []
    linker.add(MORE[0])
    assert linker.link("have you seen Inception")[0].ids == ("inception",)
    linker.add(MORE[0].model_copy(update={"title": "Zodiac"}))
    assert linker.link("have you seen Inception") == []
    linker.remove("inception")
    assert linker.link("have you seen Zodiac") == []


@settings(deadline=None, max_examples=200)
@given(
    st.lists(
        st.sampled_from(
            ["Alien", "dune", "2021", "(1972)", "the", "godfather", "2", "by", "kubrick", "I", "love", "\n"]
        )
        | st.text(max_size=8),
        max_size=12,
    ).map(" ".join)
)
def test_mentions_are_stretches_of_the_text_in_order(linker: Linker, text: str) -> None:
    mentions = linker.link(text)
    assert mentions == linker.link(text)
    end = 0
    for mention in mentions:
        assert end <= mention.start < mention.end <= len(text)
        assert mention.surface == text[mention.start : mention.end]
        assert bool(mention.ids) != bool(mention.name)
        assert 0 < mention.score <= 1
        end = mention.end


@given(item=st.sampled_from([*FILMS, *MORE]))
def test_every_label_leads_to_its_item(linker: Linker, item: Item) -> None:
    (mention,) = [one for one in linker.link(f"I saw {item.label} once") if one.kind == "title"]
    assert mention.ids[0] == item.id
    assert mention.surface == item.label


def test_time_grows_with_the_message_and_hardly_with_the_catalogue() -> None:
    rng = random.Random(0)
    syllables = ["ka", "lo", "mi", "ter", "van", "sor", "del", "qui", "zen", "bra", "tho", "ly"]
    words = ["".join(rng.choices(syllables, k=rng.randint(2, 4))) for _ in range(4000)]
    titles = [" ".join(rng.choices(words, k=rng.randint(1, 4))) for _ in range(10_000)]
    linker = Linker(Item(id=f"t{n}", title=title.title()) for n, title in enumerate(titles))
    begin = time.perf_counter()
    assert linker.link(f"I loved {titles[7]} but not {titles[8]}")
    assert time.perf_counter() - begin < 0.5
    begin = time.perf_counter()
    linker.link(" and ".join(titles))  # far over 10,000 characters
    assert time.perf_counter() - begin < 10
