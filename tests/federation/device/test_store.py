"""The private store: it keeps the newest of what it is given, gives all of it back, and what it deletes is gone."""

from __future__ import annotations

import json
import logging
import os
import signal
import sqlite3
import stat
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from federation.device import database
from federation.device.base import Event
from federation.device.database import MIGRATIONS
from federation.device.records import Conversation, Impression, Judgement, Turn
from federation.device.store import Bounds, EventStore, StoreError
from tests.federation.device import records as some

a_few = settings(max_examples=30, deadline=None, suppress_health_check=[HealthCheck.too_slow])

SECRET = "I cried at the ending of Amélie with Katharina"
ROOT = Path(__file__).resolve().parents[3]


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "device" / "events.sqlite"


@pytest.fixture
def store(path: Path) -> Iterator[EventStore]:
    with EventStore(path) as opened:
        yield opened


def filled(store: EventStore, secret: str = SECRET) -> EventStore:
    """Some of everything, with the secret wherever a person's words go."""
    store.add_events([Event(1.0, "alien-1979", "liked"), Event(2.0, "solaris-1972")])
    for place in range(40):
        store.add_turn(f"talk {place}", "user", f"{secret} {place} " * 60, at=10.0 + place)
    store.add_impression(Impression(11.0, {"about": secret}, ("amelie-2001", "heat-1995"), ("amelie-2001",), "r1"))
    store.add_verdict("liked", item="amelie-2001", impression="r1", at=12.0)
    return store


@contextmanager
def fast(folder: str, name: str = "events.sqlite") -> Iterator[EventStore]:
    """A store that does not wait for the disk: what a crash leaves is not what laws are about."""
    with EventStore(Path(folder) / name) as store:
        store._database._connection.execute("PRAGMA synchronous = OFF")
        yield store


def bytes_of(folder: Path) -> bytes:
    return b"".join(path.read_bytes() for path in folder.rglob("*") if path.is_file())


class TestVerdicts:
    def test_a_newer_one_replaces_the_one_before(self, store):
        store.add_verdict("liked", item="a", at=1)
        store.add_verdict("disliked", item="a", at=2)
        assert store.verdicts() == [Judgement(2.0, "disliked", "a")]
        assert store.events() == [Event(2.0, "a", "disliked")]

    def test_withdrawing_takes_it_back_whole(self, store):
        store.add_event(Event(1.0, "a", "seen"))
        store.add_verdict("liked", item="a", at=1)
        assert store.events() == [Event(1.0, "a", "liked")]
        assert store.withdraw_verdict(item="a")
        assert store.events() == [Event(1.0, "a", "seen")]
        assert not store.withdraw_verdict(item="a")

    def test_one_on_a_whole_impression_is_no_event(self, store):
        store.add_impression(Impression(1.0, {}, ("a", "b"), ("a",), "r1"))
        store.add_verdict("liked", impression="r1", at=2)
        store.add_verdict("disliked", impression="r1", at=3)
        store.add_verdict("liked", item="a", impression="r1", at=4)
        assert store.verdicts() == [Judgement(3.0, "disliked", None, "r1"), Judgement(4.0, "liked", "a", "r1")]
        assert store.events() == [Event(4.0, "a", "liked")]
        assert store.withdraw_verdict(impression="r1")
        assert [one.item for one in store.verdicts()] == ["a"]

    @pytest.mark.parametrize(
        ("on", "said"),
        [
            ({}, "on an item or on an impression"),
            ({"impression": "gone"}, "is not here"),
            ({"impression": "r1", "item": "c"}, "did not rank"),
        ],
    )
    def test_what_it_cannot_be_on_is_refused_and_the_former_one_stays(self, store, on, said):
        store.add_impression(Impression(1.0, {}, ("a",), (), "r1"))
        store.add_verdict("liked", item="c", at=1)
        with pytest.raises(StoreError, match=said):
            store.add_verdict("disliked", **on)
        assert store.verdicts() == [Judgement(1.0, "liked", "c")]


@pytest.mark.parametrize(
    "add",
    [
        lambda store: store.add_event(Event(float("nan"), "a")),
        lambda store: store.add_events([Event(1.0, "a"), Event(2.0, "a", "loved")]),
        lambda store: store.add_event(Event(1.0, "\ud800")),
        lambda store: store.add_turn("c", "system", SECRET),
        lambda store: store.add_turn("c", "user", f"{SECRET}\ud800"),
        lambda store: store.add_impression(Impression(1.0, {SECRET: {1}}, (), ())),
        lambda store: store.add_impression(Impression(1.0, {"about": float("inf")}, (), ())),
    ],
)
def test_what_cannot_be_kept_is_refused_whole_and_without_what_was_said(store, add):
    with pytest.raises(StoreError, match="Nothing was kept") as refusal:
        add(store)
    assert SECRET not in str(refusal.value)
    assert not any(store.counts().values())


class TestExport:
    @a_few
    @given(st.data())
    def test_export_then_import_is_the_identity(self, data):
        with tempfile.TemporaryDirectory() as folder, fast(folder, "one.sqlite") as one:
            one.load(map(row_of, data.draw(st.lists(some.conversations(), max_size=4))))
            one.add_events(data.draw(st.lists(some.events, max_size=10)))
            for impression in data.draw(st.lists(some.impressions(), max_size=4)):
                one.add_impression(impression)
            for impression in one.impressions():
                one.add_verdict("seen", impression=impression.id, at=1.0)
                for item in impression.shown:
                    one.add_verdict(data.draw(some.verdicts), item=item, impression=impression.id, at=2.0)
            text = [json.dumps(row) for row in one.export()]
            with fast(folder, "two.sqlite") as two:
                assert two.load(map(json.loads, text)) == len(text) - 1
                for name in ("events", "impressions", "verdicts", "conversations", "counts"):
                    assert getattr(two, name)() == getattr(one, name)()
                assert [json.dumps(row) for row in two.export()] == text
                assert two.load(map(json.loads, text)) == 0

    def test_what_is_here_stays(self, store):
        store.add_turn("c", "user", "mine", at=1)
        store.load([row_of(Conversation("c", 1.0, (Turn("user", "theirs", 1.0),)))])
        assert [turn.text for one in store.conversations() for turn in one.turns] == ["mine"]

    @pytest.mark.parametrize(
        ("row", "said"),
        [
            ({"kind": "sotto device export", "version": 2}, "version 2"),
            ({"kind": "secrets"}, "kind is event"),
            ({"kind": "event", "at": 1.0}, "a field of the event"),
            ({"kind": "event", "at": "1", "item": "a", "verdict": "seen"}, "at is a number"),
            ({"kind": "conversation", "id": "c", "started_at": 1, "turns": [SECRET]}, "a field of the conversation"),
            ({"kind": "impression", "id": "r", "at": 1, "wish": {}, "candidates": 7, "shown": []}, "the impression"),
            ({"kind": "verdict", "at": 1.0, "verdict": "liked", "item": "a", "impression": "r"}, "is not here"),
        ],
    )
    def test_a_record_out_of_order_is_named_and_nothing_is_taken(self, store, row, said):
        with pytest.raises(StoreError, match=f"record 2: .*{said}") as refusal:
            store.load([{"kind": "event", "at": 1.0, "item": "a", "verdict": "seen"}, row])
        assert SECRET not in str(refusal.value)
        assert store.events() == []


def row_of(conversation: Conversation) -> dict[str, object]:
    turns = [{"role": turn.role, "text": turn.text, "at": turn.at} for turn in conversation.turns]
    return {"kind": "conversation", "id": conversation.id, "started_at": conversation.started_at, "turns": turns}


class TestBounds:
    @a_few
    @given(
        st.lists(some.events, max_size=20), st.lists(st.tuples(some.times, some.items), max_size=5), st.integers(0, 9)
    )
    def test_pruning_keeps_the_newest_events(self, events, judged, most):
        with tempfile.TemporaryDirectory() as folder, fast(folder) as store:
            store.add_events(events)
            for at, item in judged:
                store.add_verdict("liked", item=item, at=at)
            before = store.events()
            store.prune(Bounds(events=most))
            assert store.events() == before[max(0, len(before) - most) :]

    @a_few
    @given(st.lists(some.turns, max_size=20), st.integers(0, 9))
    def test_pruning_keeps_the_newest_turns_and_no_empty_conversation(self, turns, most):
        with tempfile.TemporaryDirectory() as folder, fast(folder) as store:
            store.load(row_of(Conversation(f"c{place}", turn.at, (turn,))) for place, turn in enumerate(turns))
            store.prune(Bounds(turns=most))
            kept = [turn for one in store.conversations() for turn in one.turns]
            newest = sorted(turn.at for turn in turns)
            assert sorted(turn.at for turn in kept) == (newest[-most:] if most else [])
            assert store.counts()["conversations"] == len(store.conversations())

    def test_adding_never_exceeds_them(self, path):
        with EventStore(path, Bounds(events=3, turns=2, impressions=1)) as store:
            store.add_events(Event(float(at), "a") for at in range(10))
            for at in range(10):
                store.add_turn("c", "user", str(at), at=at)
                store.add_impression(Impression(float(at), {}, ("a",), (), f"r{at}"))
                store.add_verdict("liked", impression=f"r{at}", at=at)
            assert [event.at for event in store.events()] == [7, 8, 9]
            assert [turn.text for turn in store.conversations()[0].turns] == ["8", "9"]
            assert [one.id for one in store.impressions()] == [one.impression for one in store.verdicts()] == ["r9"]

    def test_days_are_counted_back_from_now(self, store):
        day = 86_400.0
        store.add_events(Event(at * day, "a") for at in range(10))
        store.add_impression(Impression(1 * day, {}, ("b", "c"), (), "r1"))
        store.add_verdict("liked", item="b", impression="r1", at=9 * day)
        store.add_verdict("liked", impression="r1", at=9 * day)
        gone = store.prune(Bounds(days=2.5), now=10 * day)
        assert [event.at for event in store.events()] == [8 * day, 9 * day, 9 * day]
        assert store.verdicts() == [Judgement(9 * day, "liked", "b", None)]
        assert gone == {"events": 8, "verdicts": 1, "impressions": 1, "conversations": 0, "turns": 0}

    def test_a_bound_below_nothing_is_refused(self):
        with pytest.raises(ValueError, match="0 or more"):
            Bounds(turns=-1)


@settings(max_examples=15, stateful_step_count=15, deadline=None, suppress_health_check=[HealthCheck.too_slow])
class Model(RuleBasedStateMachine):
    """The store beside dictionaries that do the same, closed and opened again at times."""

    def __init__(self) -> None:
        super().__init__()
        self.folder = tempfile.TemporaryDirectory()
        self.path = Path(self.folder.name) / "device" / "events.sqlite"
        self.store = EventStore(self.path)
        self.added: dict[tuple[float, str], Event] = {}
        self.given: dict[str, Judgement] = {}
        self.shown: dict[str, Impression] = {}

    def teardown(self) -> None:
        self.store.close()
        self.folder.cleanup()

    @rule(events=st.lists(some.events, max_size=4))
    def add_events(self, events: list[Event]) -> None:
        before = len(self.added)
        for event in events:
            self.added.setdefault((event.at, event.item), event)
        assert self.store.add_events(events) == len(self.added) - before

    @rule(item=some.items, verdict=some.verdicts, at=some.times)
    def add_verdict(self, item: str, verdict: str, at: float) -> None:
        self.store.add_verdict(verdict, item=item, at=at)
        self.given[item] = Judgement(at, verdict, item)

    @rule(item=some.items)
    def withdraw_verdict(self, item: str) -> None:
        assert self.store.withdraw_verdict(item=item) == (self.given.pop(item, None) is not None)

    @rule(impression=some.impressions(st.sampled_from(["r1", "r2"])))
    def add_impression(self, impression: Impression) -> None:
        self.store.add_impression(impression)
        self.shown.setdefault(impression.id, impression)

    @rule()
    def open_again(self) -> None:
        self.store.close()
        self.store = EventStore(self.path)

    @rule()
    def delete(self) -> None:
        self.store.delete()
        self.added, self.given, self.shown = {}, {}, {}

    @invariant()
    def is_what_it_was_given(self) -> None:
        given = {(one.at, item): Event(one.at, item, one.verdict) for item, one in self.given.items()}
        assert self.store.events() == sorted((self.added | given).values())
        assert {one.id: one for one in self.store.impressions()} == self.shown
        assert {one.item: one for one in self.store.verdicts()} == self.given


TestModel = Model.TestCase


class TestPrivacy:
    def test_after_deletion_no_byte_of_it_is_in_any_file(self, store, path):
        filled(store)
        assert SECRET.encode() in bytes_of(path.parent)
        gone = store.delete()
        assert gone == {"events": 2, "verdicts": 1, "impressions": 1, "conversations": 40, "turns": 40}
        left = bytes_of(path.parent)
        for word in (*SECRET.split()[1:], "talk", "alien-1979", "amelie-2001"):
            assert len(word) < 4 or word.encode() not in left
        store.close()
        assert b"Katharina" not in bytes_of(path.parent)

    def test_neither_is_what_was_pruned(self, store, path):
        filled(store)
        store.add_turn("later", "user", "hello", at=1e9)
        store.prune(Bounds(turns=1, impressions=0))
        left = bytes_of(path.parent)
        assert b"hello" in left
        assert b"Katharina" not in left

    def test_a_reader_that_holds_the_log_back_is_told_of(self, store, path, monkeypatch):
        filled(store)
        store._database._connection.execute("PRAGMA busy_timeout = 0")
        reader = sqlite3.connect(path, isolation_level=None)
        reader.execute("BEGIN")
        reader.execute("SELECT count(*) FROM turns").fetchone()
        with pytest.raises(StoreError, match="still on the disk"):
            store.delete()
        assert not any(store.counts().values())
        reader.close()
        store.delete()
        assert b"Katharina" not in bytes_of(path.parent)

    def test_it_is_for_its_owner_alone(self, store, path):
        filled(store)
        modes = {one.name: stat.S_IMODE(one.stat().st_mode) for one in path.parent.iterdir()}
        assert len(modes) == 3
        assert set(modes.values()) == {0o600}
        assert stat.S_IMODE(path.parent.stat().st_mode) == 0o700

    def test_a_folder_that_others_could_enter_is_closed_to_them(self, tmp_path):
        (tmp_path / "device").mkdir(mode=0o755)
        (tmp_path / "device" / "events.sqlite").touch(mode=0o644)
        with EventStore.at_home(tmp_path) as store:
            assert stat.S_IMODE(store.path.parent.stat().st_mode) == 0o700
            assert stat.S_IMODE(store.path.stat().st_mode) == 0o600

    def test_nothing_is_logged_or_printed(self, store, caplog, capfd):
        with caplog.at_level(logging.DEBUG):
            filled(store)
            list(store.export())
            store.prune(Bounds(turns=1))
            store.delete()
        assert caplog.records == []
        assert capfd.readouterr() == ("", "")

    def test_no_repr_tells_what_was_said(self, store):
        filled(store)
        assert "Katharina" not in repr(store.conversations()) + repr(store.impressions()) + repr(store)

    def test_no_temporary_file_is_written(self, store):
        assert store._database._pragma("temp_store") == 2  # memory
        assert store._database._pragma("secure_delete") == 1


class TestFaults:
    def test_a_file_that_is_no_database_is_refused_and_left(self, path):
        path.parent.mkdir()
        path.write_text("dear diary, " * 100)
        with pytest.raises(StoreError, match="is damaged .* Put a copy"):
            EventStore(path)
        assert path.read_text().startswith("dear diary")

    def test_damage_within_is_told(self, store, path):
        filled(store).close()
        data = bytearray(path.read_bytes())
        data[4096:] = os.urandom(len(data) - 4096)
        path.write_bytes(data)
        with pytest.raises(StoreError, match="is damaged"), EventStore(path) as damaged:
            damaged.conversations()

    def test_another_programs_database_is_refused_and_left(self, path):
        path.parent.mkdir()
        with sqlite3.connect(path) as other:
            other.execute("CREATE TABLE letters (text)")
        other.close()
        before = path.read_bytes()
        with pytest.raises(StoreError, match="no device's store"):
            EventStore(path)
        assert path.read_bytes() == before

    def test_a_newer_version_is_refused_and_left(self, store, path):
        filled(store).close()
        with sqlite3.connect(path) as other:
            other.execute("PRAGMA user_version = 99")
        other.close()
        with pytest.raises(StoreError, match="version 99, made by a newer Sotto"):
            EventStore(path)

    def test_an_older_version_is_brought_up_to_date(self, store, path, monkeypatch):
        events = filled(store).events()
        store.close()
        added = ("ALTER TABLE turns ADD COLUMN mood TEXT", "CREATE TABLE moods (name TEXT) STRICT")
        monkeypatch.setattr(database, "MIGRATIONS", (*MIGRATIONS, added))
        with EventStore(path) as newer:
            assert newer._database._pragma("user_version") == len(MIGRATIONS) + 1
            assert newer.events() == events

    def test_a_migration_that_fails_changes_nothing(self, store, path, monkeypatch):
        events = filled(store).events()
        store.close()
        monkeypatch.setattr(database, "MIGRATIONS", (*MIGRATIONS, ("DROP TABLE turns", "nonsense")))
        with pytest.raises(StoreError, match="cannot be used"):
            EventStore(path)
        monkeypatch.undo()
        with EventStore(path) as again:
            assert again.events() == events
            assert again.counts()["turns"] == 40

    def test_a_full_disk_keeps_what_was_there(self, store):
        filled(store)
        before = store.counts()
        connection = store._database._connection
        pages = connection.execute("PRAGMA page_count").fetchone()[0]
        connection.execute(f"PRAGMA max_page_count = {pages}")
        with pytest.raises(StoreError, match="the disk is full"):
            store.add_turn("long", "user", SECRET * 10_000)
        assert store.counts() == before
        connection.execute("PRAGMA max_page_count = 1000000")
        store.add_turn("long", "user", SECRET)

    def test_a_writer_that_does_not_end_is_told_of(self, store, path):
        store._database._connection.execute("PRAGMA busy_timeout = 0")
        other = sqlite3.connect(path, isolation_level=None)
        other.execute("BEGIN IMMEDIATE")
        with pytest.raises(StoreError, match="written by another program"):
            store.add_event(Event(1.0, "a"))
        other.close()

    def test_a_folder_that_cannot_be_made_is_told(self, tmp_path):
        (tmp_path / "file").touch()
        with pytest.raises(StoreError, match="Check the folder's permissions"):
            EventStore(tmp_path / "file" / "device" / "events.sqlite")


WRITER = """
import sys
from pathlib import Path
from federation.device.base import Event
from federation.device.store import EventStore

with EventStore(Path(sys.argv[1])) as store:
    for number in range(10**6):
        store.add_events(Event(float(number), f"film-{number}-{part}") for part in range(50))
        store.add_turn("talk", "user", f"message {number} " * 100, at=number)
        print(number, flush=True)
"""


@pytest.mark.parametrize("last", [1, 7])
def test_a_process_killed_in_mid_write_loses_nothing_that_it_had_kept(path, last):
    command = [sys.executable, "-c", WRITER, str(path)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, cwd=ROOT) as writer:
        assert writer.stdout is not None
        for line in writer.stdout:
            if int(line) == last:
                os.kill(writer.pid, signal.SIGKILL)
                break
    with EventStore(path) as store:
        turns = [turn.text for one in store.conversations() for turn in one.turns]
        assert len(turns) > last
        assert turns == [f"message {number} " * 100 for number in range(len(turns))]
        # A batch is there as a whole or not at all.
        assert store.counts()["events"] in {50 * len(turns), 50 * (len(turns) + 1)}
        store.add_event(Event(0.5, "after"))
        check = sqlite3.connect(path)
        assert check.execute("PRAGMA integrity_check").fetchone() == ("ok",)
        check.close()


def test_processes_that_open_a_new_one_at_once_share_it(path):
    command = [sys.executable, "-c", WRITER.replace("10**6", "1"), str(path)]
    writers = [subprocess.Popen(command, stdout=subprocess.DEVNULL, cwd=ROOT) for _ in range(4)]
    assert [writer.wait() for writer in writers] == [0] * 4
    with EventStore(path) as store:
        assert (store.counts()["events"], store.counts()["turns"]) == (50, 4)


def test_threads_share_a_store(store):
    from concurrent.futures import ThreadPoolExecutor

    with ThreadPoolExecutor(8) as threads:
        list(threads.map(lambda number: store.add_turn(f"c{number % 4}", "user", str(number), at=number), range(60)))
    assert store.counts()["turns"] == 60


def test_status_tells_how_much_and_never_what(store):
    found = filled(store).status()
    assert found.counts == store.counts()
    assert (found.oldest, found.newest) == (1.0, 12.0)
    assert found.bytes > 4096
    assert "Katharina" not in repr(found)
