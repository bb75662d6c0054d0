from __future__ import annotations

import signal
import sqlite3
import subprocess
import sys
import tempfile
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from random import Random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from retrieval.catalogue import Catalogue, CatalogueError, Facets
from retrieval.item import Item
from tests.retrieval.strategies import items, many_items

ALIEN = Item(id="alien-1979", title="Alien", year=1979, genres=("science fiction", "horror"), moods=("scary",))
AMELIE = Item(
    id="amelie-2001", title="Amélie", year=2001, genres=("comedy",), countries=("france",), languages=("french",)
)
HEAT = Item(id="heat-1995", title="Heat", year=1995, genres=("crime",), people={"director": ("Michael Mann",)})


@contextmanager
def fresh() -> Iterator[Catalogue]:
    with tempfile.TemporaryDirectory() as folder, Catalogue.open(Path(folder) / "catalogue.sqlite") as catalogue:
        yield catalogue


@pytest.fixture
def catalogue() -> Iterator[Catalogue]:
    with fresh() as made:
        yield made


@settings(deadline=None, max_examples=40)
@given(many_items())
def test_what_is_put_is_what_is_got(given_items: list[Item]) -> None:
    with fresh() as catalogue:
        assert catalogue.put(given_items) == len(given_items) == len(catalogue)
        assert list(catalogue) == sorted(given_items, key=lambda item: item.id)
        assert catalogue.many(item.id for item in given_items) == given_items
        assert [catalogue.get(item.id) for item in given_items] == given_items


@settings(deadline=None, max_examples=30)
@given(many_items(5), st.randoms())
def test_digest_does_not_depend_on_the_order_of_changes(given_items: list[Item], rng: Random) -> None:
    shuffled = list(given_items)
    rng.shuffle(shuffled)
    with fresh() as one, fresh() as other:
        one.replace(given_items)
        other.put([HEAT, *(item.model_copy(update={"title": "former"}) for item in given_items)])
        for item in shuffled:
            other.put([item])
        other.remove({HEAT.id} - {item.id for item in given_items})
        assert one.digest == other.digest
        assert one.facets == other.facets
        assert one.facet_counts() == other.facet_counts()


@pytest.mark.parametrize("field", sorted(Item.model_fields))
@settings(deadline=None, max_examples=5)
@given(before=items(st.just("a")), after=items(st.just("b")))
def test_digest_changes_with_any_field(field: str, before: Item, after: Item) -> None:
    changed = before.model_copy(update={field: getattr(after, field)})
    with fresh() as catalogue:
        catalogue.put([before])
        digest, revision = catalogue.digest, catalogue.revision
        catalogue.remove(["a"])
        catalogue.put([changed])
        assert (catalogue.digest != digest) == (changed != before)
        assert catalogue.revision > revision


def test_facets_are_those_of_the_items_that_are_left(catalogue: Catalogue) -> None:
    catalogue.put([ALIEN, AMELIE])
    assert catalogue.facets == Facets(
        ("comedy", "horror", "science fiction"), ("scary",), ("france",), ("french",), ("film",)
    )
    catalogue.remove([ALIEN.id])
    assert catalogue.facets == Facets(("comedy",), (), ("france",), ("french",), ("film",))
    assert catalogue.facet_counts()["kinds"] == {"film": 1}


def test_decades_are_counted(catalogue: Catalogue) -> None:
    catalogue.put([ALIEN, AMELIE, HEAT, Item(id="x", title="Undated")])
    assert catalogue.decade_counts() == {1970: 1, 1990: 1, 2000: 1}


def test_many_keeps_the_order_and_leaves_out_what_is_missing(catalogue: Catalogue) -> None:
    catalogue.put([ALIEN, AMELIE, HEAT])
    assert catalogue.many(["heat-1995", "none", "alien-1979", "heat-1995"]) == [HEAT, ALIEN, HEAT]
    assert catalogue.get("none") is None
    assert "alien-1979" in catalogue
    assert "none" not in catalogue


def test_revision_grows_with_each_change_and_only_then(catalogue: Catalogue) -> None:
    assert catalogue.revision == 0
    catalogue.put([ALIEN])
    catalogue.put([ALIEN])
    assert catalogue.revision == 1
    assert catalogue.remove(["none"]) == 0
    assert catalogue.revision == 1
    assert catalogue.remove([ALIEN.id, "none"]) == 1
    assert catalogue.revision == 2
    assert len(catalogue) == 0
    assert catalogue, "an empty catalogue is still one"


def test_of_several_items_with_one_id_the_last_is_kept(catalogue: Catalogue) -> None:
    longer = ALIEN.model_copy(update={"title": "Alien: The Director's Cut"})
    filler = [Item(id=f"f{n}", title="Filler") for n in range(1100)]
    assert catalogue.replace([ALIEN, *filler, longer]) == 1101
    digest = catalogue.digest
    assert catalogue.get(ALIEN.id) == longer
    catalogue.replace([longer, *filler])
    assert catalogue.digest == digest


def test_items_may_be_copied_from_the_catalogue_itself(catalogue: Catalogue) -> None:
    catalogue.put(Item(id=f"i{n}", title="One") for n in range(2500))
    assert catalogue.put(item.model_copy(update={"title": "Two"}) for item in catalogue) == 2500
    assert {item.title for item in catalogue} == {"Two"}


@pytest.mark.parametrize("method", ["put", "replace"])
def test_an_error_midway_leaves_the_former_catalogue(catalogue: Catalogue, method: str) -> None:
    catalogue.put([ALIEN, AMELIE])
    before = catalogue.digest, catalogue.revision, catalogue.facets

    def failing() -> Iterator[Item]:
        for number in range(3000):
            yield Item(id=f"n{number}", title="New", genres=("new",))
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        getattr(catalogue, method)(failing())
    assert list(catalogue) == [ALIEN, AMELIE]
    assert (catalogue.digest, catalogue.revision, catalogue.facets) == before
    assert catalogue.put([HEAT]) == 1


_KILLED = """
import os, signal, sys
from pathlib import Path
from random import Random
from retrieval.catalogue import Catalogue
from retrieval.item import Item

def endless():
    number = 0
    while True:
        if number == 3500:
            os.kill(os.getpid(), signal.SIGKILL)
        yield Item(id=f"n{number}", title="New")
        number += 1

Catalogue.open(Path(sys.argv[1])).replace(endless())
"""


def test_a_kill_midway_leaves_the_former_catalogue(tmp_path: Path) -> None:
    path = tmp_path / "catalogue.sqlite"
    with Catalogue.open(path) as catalogue:
        catalogue.put([ALIEN, AMELIE])
    root = Path(__file__).parents[2]
    died = subprocess.run([sys.executable, "-c", _KILLED, str(path)], cwd=root, check=False, timeout=60)
    assert died.returncode == -signal.SIGKILL
    with Catalogue.open(path) as catalogue:
        assert list(catalogue) == [ALIEN, AMELIE]
        assert catalogue.replace([HEAT]) == 1
    assert {entry.name for entry in tmp_path.iterdir()} == {"catalogue.sqlite"}


def test_others_read_while_an_import_is_under_way(catalogue: Catalogue) -> None:
    catalogue.put([ALIEN])
    started, go_on = threading.Event(), threading.Event()

    def slow() -> Iterator[Item]:
        yield AMELIE
        started.set()
        assert go_on.wait(30)
        yield HEAT

    with ThreadPoolExecutor(1) as pool:
        importing = pool.submit(catalogue.replace, slow())
        assert started.wait(30)
        assert list(catalogue) == [ALIEN]
        with Catalogue.open(catalogue.path) as other:
            other.put([HEAT])
        assert len(catalogue) == 2
        go_on.set()
        assert importing.result(30) == 2
    assert list(catalogue) == [AMELIE, HEAT]


def test_threads_read_and_write_at_once(catalogue: Catalogue) -> None:
    def work(number: int) -> int:
        catalogue.put([Item(id=f"t{number}", title=str(number))])
        return len(list(catalogue))

    with ThreadPoolExecutor(8) as pool:
        assert all(pool.map(work, range(40)))
    assert len(catalogue) == 40
    assert catalogue.revision == 40


def test_a_reader_notices_what_another_process_wrote(catalogue: Catalogue) -> None:
    catalogue.put([ALIEN])
    assert catalogue.facets.genres == ("horror", "science fiction")
    with Catalogue.open(catalogue.path) as other:
        other.replace([HEAT])
    assert catalogue.revision == 2
    assert catalogue.facets.genres == ("crime",)


def test_an_item_that_would_not_be_read_back_is_refused(catalogue: Catalogue) -> None:
    with pytest.raises(CatalogueError, match=r"odd holds a value that JSON cannot"):
        catalogue.put([ALIEN, Item(id="odd", title="Odd", popularity=float("inf"))])
    assert len(catalogue) == 0


def test_a_file_of_another_kind_is_refused(tmp_path: Path) -> None:
    text = tmp_path / "notes.txt"
    text.write_text("not a database, and long enough to be looked at as one " * 20)
    with pytest.raises(CatalogueError, match="choose another folder with --home"):
        Catalogue.open(text)
    foreign = tmp_path / "other.sqlite"
    with sqlite3.connect(foreign) as database:
        database.execute("CREATE TABLE notes (text)")
    database.close()
    with pytest.raises(CatalogueError, match="no catalogue"):
        Catalogue.open(foreign)
    with pytest.raises(CatalogueError, match="cannot be opened"):
        Catalogue.open(tmp_path)


def test_a_newer_format_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "catalogue.sqlite"
    Catalogue.open(path).close()
    with sqlite3.connect(path) as database:
        database.execute("PRAGMA user_version = 9")
    database.close()
    with pytest.raises(CatalogueError, match="format 9"):
        Catalogue.open(path)
