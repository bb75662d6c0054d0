"""A run goes over the gold set and ReDial, and notes everything."""

from __future__ import annotations

from assistant.dialogue.edit import Edit
from assistant.dialogue.types import ChatMessage
from assistant.errors import EngineUnavailable
from assistant.evaluation.gold import Conversation, Gold, Utterance
from assistant.evaluation.record import Recorder
from assistant.evaluation.redial import RedialTurn
from assistant.evaluation.run import run
from assistant.evaluation.score import Counts, total
from retrieval.wish import Wish
from tests.evaluation.fakes import AIRPLANE, ALIEN, SOLARIS, FakeEngine, ScriptedReader, plan, reply, subject


def utterance(**fields):
    return Utterance.model_validate({"id": "u1", "tag": "t", **fields})


def gold(*rows):
    return Gold(
        utterances=tuple(row for row in rows if isinstance(row, Utterance)),
        conversations=tuple(row for row in rows if isinstance(row, Conversation)),
    )


def values(results, measure):
    return [score.value for score in results.scores if score.measure == measure]


async def test_an_utterance_is_read_and_answered():
    one = utterance(
        message="like the second", shown=["alien-1979", "solaris-1972"], edit={"act": "find", "like": ["solaris-1972"]}
    )
    reader = ScriptedReader(Edit(act="find", like=("S2",)), {"S1": "alien-1979", "S2": "solaris-1972"})
    measured = subject(lambda _: reply("Airplane! (1980) is funny.", plan(items=[AIRPLANE])), reader)
    results = await run(measured, gold(one))
    assert total(results.slots["u1"].values()) == Counts(1, 0, 0)
    assert values(results, "act") == values(results, "constraints") == values(results, "answered") == [1.0]
    request = measured.assistant.requests[0]
    assert [message.role for message in request.messages] == ["user", "assistant", "user"]
    assert "Alien (1979) and Solaris (1972)" in request.messages[1].content
    assert request.wish == Wish()
    assert results.timings == {"understand": [0.1], "respond": [0.3]}


async def test_an_era_binds_by_what_was_shown():
    one = utterance(message="older", shown=["alien-1979"], edit={"act": "find", "era": "older"})
    answers = {item.id: reply(f"{item.label} is what you want.", plan(items=[item])) for item in (SOLARIS, AIRPLANE)}
    for item, value in ((SOLARIS, 1.0), (AIRPLANE, 0.0)):
        results = await run(subject(lambda _, item=item: answers[item.id]), gold(one))
        assert values(results, "constraints") == [value]


async def test_places_in_a_conversation_mean_what_was_really_recommended():
    turns = [
        {"message": "films please", "checks": {"task": ["recommend"], "recommends": True}},
        {"message": "not the second", "checks": {"wish": {"dislike": ["@2"]}, "excludes": ["@2"]}},
        {"message": "why the last?", "checks": {"task": ["why"], "recommends": False, "speaks_of": ["@last"]}},
    ]
    lists = [plan(items=[ALIEN, SOLARIS]), plan(items=[AIRPLANE, SOLARIS]), plan("why", [SOLARIS])]

    def answer(request):
        number = sum(message.role == "user" for message in request.messages)
        return reply(
            f"Number {number} is here: {', '.join(i.title for i in lists[number - 1].items)}.", lists[number - 1]
        )

    measured = subject(answer)
    one = Conversation.model_validate({"id": "c1", "tag": "t", "turns": turns})
    results = await run(measured, gold(one))
    assert values(results, "constraints") == [0.0]  # the first turn binds nothing
    assert values(results, "wish_carried") == [1.0, 0.0, 1.0]
    assert values(results, "right_item") == [1.0]
    assert values(results, "nothing_twice") == [1.0, 0.0]
    assert [request.wish for request in measured.assistant.requests] == [None] * 3
    assert measured.assistant.requests[1].messages[1].content == results.replies["c1.1"].removeprefix("[recommend] ")


async def test_a_turn_the_engine_fails_is_noted_and_the_run_goes_on():
    rows = [utterance(id=f"u{n}", message=f"m{n}", edit={"act": "off_topic"}) for n in range(3)]

    def answer(request):
        if request.messages[-1].content == "m1":
            return [EngineUnavailable("it is restarting")]
        return reply("I only help to find films.", plan("decline"))

    steps = []
    results = await run(subject(answer), gold(*rows), progress=lambda *step: steps.append(step))
    assert sorted(values(results, "answered")) == [0.0, 1.0, 1.0]
    assert values(results, "declines") == [1.0, 1.0]
    assert steps[-1] == ("messages", 3, 3)


async def test_a_reply_without_its_end_counts_as_not_answered():
    results = await run(subject(lambda _: [plan("chat")]), gold(utterance(message="hi", edit={"act": "chat"})))
    assert values(results, "answered") == [0.0]


async def test_redial_is_measured_by_recall_and_by_the_wish_that_was_read():
    turns = [
        RedialTurn("1-1", (ChatMessage("user", "something scary"),), ("Alien (1979)", "Unknown Film (2001)")),
        RedialTurn("1-3", (ChatMessage("user", "older"),), ("Solaris (1972)",)),
    ]
    wish = Wish(genres=("horror",))
    results = await run(
        subject(lambda _: reply("Alien (1979) is scary.", plan(items=[ALIEN], wish=wish))), gold(), turns
    )
    assert sorted(results.recalled) == [0.0, 1.0]
    assert values(results, "constraints") == [1.0, 1.0]


async def test_turns_at_the_same_time_keep_their_calls_apart():
    recorder = Recorder(FakeEngine())
    with recorder.turn() as outer:
        await recorder.complete([1], model="m", sampling=None, schema={})
        with recorder.turn() as inner:
            deltas = [delta async for delta in recorder.generate([1], model="m", sampling=None)]
    await recorder.complete([1], model="m", sampling=None, schema={})
    assert (len(outer.readings), outer.generations) == (1, 0)
    assert (len(inner.readings), inner.generations, len(deltas)) == (0, 1, 1)
