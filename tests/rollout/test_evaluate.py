"""A release is measured before anybody meets it, and is held in use for just as long."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from assistant.errors import InvalidRequest
from assistant.rollout.evaluate import Evaluator, HeldOut, read_held_out
from assistant.state.database import Database
from retrieval.search import Library
from tests.dialogue.fakes import CharTokenizer
from tests.retrieval.fakes import HashEncoder, MemoryCatalogue
from tests.retrieval.films import FILMS
from tests.rollout.fleet import URLS, Stage

IDS = [item.id for item in FILMS]


def evaluator(stage: Stage, tmp_path: Path, *events: HeldOut) -> Evaluator:
    library = Library(MemoryCatalogue(FILMS), HashEncoder(), tmp_path / "index")
    return Evaluator(stage.router, stage.open(URLS[0]), library, CharTokenizer(), events, conversations=2)


async def test_each_event_is_ranked_under_its_release_and_cohort(database: Database, tmp_path: Path):
    stage = Stage(database, tmp_path)
    release = stage.release(1)
    stage.source.fetch(release)
    events = [
        HeldOut(history=IDS[:1], candidates=IDS[1:4], chosen=chosen, cohort=cohort, activity=at)
        for at, (chosen, cohort) in enumerate([(IDS[1], "global"), (IDS[2], "c0"), (IDS[3], "global")])
    ]
    measured = evaluator(stage, tmp_path, *events)
    found = await measured.ranking(release)
    assert found.cohorts == ("global", "c0", "global")
    assert list(found.activity) == [0, 1, 2]
    # Each of the three is at another place, whatever the fake engine prefers.
    assert sorted(found.ndcg) == pytest.approx([0.5, 0.6309, 1.0], abs=1e-3)
    assert await measured.ranking(release) is found
    assert stage.held()[0] == {release}
    assert stage.router.in_flight[release] == 0


async def test_another_catalogue_than_the_gold_set_s_talks_nothing(database: Database, tmp_path: Path):
    stage = Stage(database, tmp_path)
    assert (await evaluator(stage, tmp_path).talk(None)).good == {}


@pytest.mark.parametrize(
    ("line", "fault"),
    [
        ('{"candidates":["a","b"],"chosen":"c"}', "chosen is not one of the candidates"),
        ('{"candidates":["a","a"],"chosen":"a"}', "stands twice"),
        ('{"candidates":["a"],"chosen":"a"}', "at least 2"),
        ("nonsense", "Invalid JSON"),
    ],
)
def test_what_is_no_held_out_event_is_refused_with_its_line(tmp_path: Path, line: str, fault: str):
    path = tmp_path / "events.jsonl"
    good = json.dumps({"candidates": ["a", "b"], "chosen": "a"})
    path.write_text(f"{good}\n{line}\n", encoding="utf-8")
    with pytest.raises(InvalidRequest, match=f"Line 2 .*{fault}"):
        read_held_out(path)
    with pytest.raises(InvalidRequest, match="SOTTO_GATE_EVENTS"):
        read_held_out(tmp_path / "nowhere")
