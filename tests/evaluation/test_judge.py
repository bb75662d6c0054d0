"""A turn is judged by what came out of it."""

from __future__ import annotations

import pytest

from assistant.dialogue.types import Usage
from assistant.engine.gateway import Completion
from assistant.evaluation.gold import Checks
from assistant.evaluation.judge import Expectation, Judge, Seen, reading_fault
from retrieval.wish import Wish
from tests.evaluation.fakes import AIRPLANE, ALIEN, SOLARIS, FakeLibrary, plan, seen


@pytest.fixture(scope="module")
def judge() -> Judge:
    return Judge(FakeLibrary())


def values(judge: Judge, turn: Seen, **expected: object) -> dict[str, float]:
    scores = judge.scores(turn, Expectation("conversation", "c1.1", **{"said": "something", **expected}))
    return {score.measure: score.value for score in scores}


def test_a_good_recommendation_is_right_in_everything(judge):
    turn = seen(
        "Alien (1979) is scary, and Solaris (1972) is slow.", plan(items=[ALIEN, SOLARIS]), readings=['{"act":"find"}']
    )
    found = values(judge, turn, task=("recommend",), recommends=True, constraints=Wish(genres=("science fiction",)))
    assert set(found.values()) == {1.0}
    assert {"json_valid", "constraints", "grounded", "speaks", "speaks_of_all", "sound", "task"} <= found.keys()


def test_an_item_that_breaks_a_constraint_is_found(judge):
    turn = seen("Alien (1979) and Airplane! (1980) will do.", plan(items=[ALIEN, AIRPLANE]))
    scores = judge.scores(turn, Expectation("redial", "r", "x", constraints=Wish(not_genres=("comedy",))))
    fault = next(score for score in scores if score.measure == "constraints")
    assert (fault.value, fault.detail) == (0.0, "Airplane! (1980): comedy was refused")


def test_a_right_relaxation_breaks_nothing_and_a_needless_one_does(judge):
    turn = seen("Nothing fits, but Alien (1979) is near.", plan("relaxed", [ALIEN]))
    comedy = Wish(genres=("comedy",))
    assert values(judge, turn, constraints=comedy)["constraints"] == 0.0
    assert "constraints" not in values(judge, turn, constraints=comedy, before=("airplane-1980",))
    assert "constraints" not in values(judge, turn, constraints=comedy, said="I know Airplane!")


def test_a_reply_that_forgets_an_item_or_all_is_found(judge):
    some = values(judge, seen("Alien (1979) is what you want.", plan(items=[ALIEN, SOLARIS])))
    assert (some["speaks"], some["speaks_of_all"]) == (1.0, 0.0)
    none = values(judge, seen("Here is something for you.", plan(items=[ALIEN])))
    assert none["speaks"] == 0.0


def test_declining_means_no_items_and_saying_what_it_is_for(judge):
    said = "I can only help you to find a film."
    assert values(judge, seen(said, plan("decline")), declines=True, recommends=False)["declines"] == 1.0
    assert values(judge, seen("I will not do that.", plan("decline")), declines=True)["declines"] == 0.0
    bad = values(judge, seen("Watch the film Alien (1979).", plan(items=[ALIEN])), declines=True, recommends=False)
    assert (bad["declines"], bad["recommends"]) == (0.0, 0.0)


def test_a_repeated_item_and_the_wrong_one_are_found(judge):
    again = values(judge, seen("Alien (1979) once more.", plan(items=[ALIEN])), before=("alien-1979",))
    assert again["nothing_twice"] == 0.0
    wrong = values(judge, seen("Alien is scary indeed.", plan("answer", [ALIEN])), speaks_of=("solaris-1972",))
    assert wrong["right_item"] == 0.0


def test_the_wish_after_the_turn_is_checked(judge):
    checks = Checks.model_validate({"wish": {"genres": ["horror"]}})
    turn = seen("Alien (1979) is scary.", plan(items=[ALIEN], wish=Wish(genres=("comedy",))))
    assert values(judge, turn, checks=checks, wish=checks.wish)["wish_carried"] == 0.0


def test_the_plain_last_resort_is_counted_as_such(judge):
    assert values(judge, seen("I found Alien (1979).", plan(items=[ALIEN])))["no_fallback"] == 0.0
    assert values(judge, seen("I found nothing for any year.", plan("none")))["no_fallback"] == 0.0
    assert values(judge, seen("I found Alien (1979) for you.", plan(items=[ALIEN])))["no_fallback"] == 1.0


@pytest.mark.parametrize("text", ["", '{"act":"find","genres":["hor', '{"genres":[]}', '{"act":"find","mood":"x"}'])
def test_json_that_is_no_edit_is_invalid(text):
    assert reading_fault(Completion(text, "stop", Usage()))


def test_json_that_is_an_edit_is_valid():
    assert reading_fault(Completion('{"act":"find","years":[0,1959]}', "stop", Usage())) == ""
