"""The store keeps what it is given through kills and moves, and what is deleted is gone from every byte."""

from __future__ import annotations

import os
import signal
import sqlite3
import stat
import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from federation.device.base import Event
from federation.device.store import DAY, EventStore, Impression, StoreError, Turn

ROOT = Path(__file__).parents[3]
SECRET = "the harrowing secret of the third reel"
events = st.builds(
    Event, st.floats(0, 2e9), st.sampled_from(["a", "b", "c"]), st.sampled_from(["liked", "disliked", "seen"])
)
impressions = st.builds(
    Impression,
    st.uuids().map(str),
    st.floats(0, 2e9),
    st.just(("a", "b", "c")),
    st.just(("a", "b")),
    st.just({"genres": ["horror"]}),
    st.dictionaries(st.sampled_from(["a", "b"]), st.sampled_from(["liked", "disliked"])),
)
turns = st.builds(
    Turn, st.sampled_from(["x", "y"]), st.floats(0, 2e9), st.sampled_from(["user", "assistant"]), st.text(max_size=30)
)


@pytest.fixture
def store(tmp_path: Path):
    with EventStore(tmp_path / "device" / "events.sqlite") as opened:
        yield opened


def filled(store: EventStore) -> None:
    store.add_events([Event(float(at), f"i{at}", "liked") for at in range(5)])
    store.add_impression(Impression("rec_1", 10.0, ("a", "b", "c"), ("a", "b"), {"about": SECRET}))
    store.add_turns([Turn("x", 11.0, "user", SECRET), Turn("x", 12.0, "assistant", "Take [1].")])


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None, max_examples=25)
@given(st.lists(events, max_size=8), st.lists(impressions, max_size=4), st.lists(turns, max_size=4))
def test_an_export_taken_in_elsewhere_is_the_same(tmp_path: Path, some_events, some_impressions, some_turns):
    paths = [tmp_path / f"{os.urandom(8).hex()}.sqlite" for _ in range(2)]
    with EventStore(paths[0]) as one, EventStore(paths[1]) as two:
        one.add_events(some_events)
        for impression in some_impressions:
            one.add_impression(impression)
        one.add_turns(some_turns)
        two.restore(one.export())
        assert list(two.export()) == list(one.export())
        assert (two.events(), two.turns()) == (one.events(), one.turns())


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None, max_examples=25)
@given(st.lists(events, max_size=10))
def test_what_is_added_again_is_there_once(tmp_path: Path, some: list[Event]):
    with EventStore(tmp_path / f"{os.urandom(8).hex()}.sqlite") as store:
        assert store.add_events(some) == len({(one.at, one.item) for one in some})
        assert store.add_events(some) == 0


def test_verdicts_on_what_was_shown_are_events_and_can_be_taken_back(store: EventStore):
    filled(store)
    store.judge("rec_1", "a", "liked")
    store.judge("rec_1", "a", "disliked")
    assert store.events()[-1] == Event(10.0, "a", "disliked")
    store.judge("rec_1", "a", None)
    assert len(store.events()) == 5
    for wrong in (("rec_1", "c"), ("rec_2", "a")):
        with pytest.raises(StoreError, match="not shown"):
            store.judge(*wrong, "liked")


def test_pruning_keeps_the_latest(store: EventStore):
    filled(store)
    assert store.prune(most=2) == 3
    assert [event.item for event in store.events()] == ["i3", "i4"]
    assert store.prune(days=1, now=11.5 + DAY) == 4
    assert store.counts() == {"events": 0, "impressions": 0, "turns": 1}


def test_after_delete_no_byte_of_it_is_left_in_the_folder(store: EventStore):
    filled(store)
    assert any(SECRET.encode() in path.read_bytes() for path in store.path.parent.iterdir())
    store.delete()
    assert sum(store.counts().values()) == 0
    for path in store.path.parent.iterdir():
        assert SECRET.encode() not in path.read_bytes()
        assert b"rec_1" not in path.read_bytes()


def test_only_its_owner_may_read_it(store: EventStore):
    filled(store)
    assert stat.S_IMODE(store.path.stat().st_mode) == 0o600
    assert stat.S_IMODE(store.path.parent.stat().st_mode) == 0o700


def test_a_kill_in_the_middle_of_writing_leaves_the_store_before_or_after(tmp_path: Path):
    path = tmp_path / "events.sqlite"
    script = (
        "import itertools, sys\nfrom pathlib import Path\n"
        "from federation.device.base import Event\nfrom federation.device.store import EventStore\n"
        "store = EventStore(Path(sys.argv[1]))\n"
        "for at in itertools.count():\n"
        "    store.add_events([Event(float(at), f'i{n}') for n in range(50)])\n    print(at, flush=True)\n"
    )
    process = subprocess.Popen([sys.executable, "-c", script, str(path)], cwd=ROOT, stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    for _ in range(5):
        process.stdout.readline()
    os.kill(process.pid, signal.SIGKILL)
    process.communicate()
    with EventStore(path) as store:
        count = store.counts()["events"]
    assert count >= 250
    assert count % 50 == 0


def test_what_is_no_store_or_a_later_one_is_refused(tmp_path: Path):
    (tmp_path / "a").write_bytes(b"no database at all, but long enough to be looked at" * 40)
    with pytest.raises(StoreError, match="cannot be opened"):
        EventStore(tmp_path / "a")
    connection = sqlite3.connect(tmp_path / "b")
    connection.execute("PRAGMA user_version = 99")
    connection.close()
    with pytest.raises(StoreError, match="later Sotto"):
        EventStore(tmp_path / "b")


@pytest.mark.parametrize("wrong", [{"kind": "cookie"}, {"kind": "event", "at": 1.0}, {"kind": "turn", "text": "x"}, {}])
def test_of_a_wrong_export_nothing_is_taken(store: EventStore, wrong: dict[str, object]):
    with pytest.raises(StoreError, match="Object 2"):
        store.restore([{"kind": "event", "at": 1.0, "item": "a", "verdict": "seen"}, wrong])
    assert sum(store.counts().values()) == 0


def test_a_full_disk_is_told_and_nothing_is_lost(store: EventStore):
    filled(store)
    pages = store._connection.execute("PRAGMA page_count").fetchone()[0]
    store._connection.execute(f"PRAGMA max_page_count = {pages}")
    with pytest.raises(StoreError, match="cannot be written"):
        store.add_turns(Turn("x", 1.0, "user", "y" * 5000) for _ in range(50))
    assert store.counts() == {"events": 5, "impressions": 1, "turns": 2}
