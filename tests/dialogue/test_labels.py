"""What was just shown is found by its title, however ordinary its words."""

from __future__ import annotations

import pytest

from assistant.dialogue.labels import labelled
from retrieval.item import Item
from retrieval.linker import Mention

HEAT = Item(id="heat", title="Heat", year=1995)
UP = Item(id="up", title="Up", year=2009)
DEPARTED = Item(id="departed", title="The Departed", year=2006)


@pytest.mark.parametrize(
    ("text", "meant"),
    [
        ("saw heat last week", "saw [S1 heat] last week"),
        ("why the departed?", "why [S3 the departed]?"),
        ("shut up", "shut up"),
        ("heated talk", "heated talk"),
    ],
)
def test_a_shown_title_is_labelled(text: str, meant: str) -> None:
    assert labelled(text, [HEAT, UP, DEPARTED], []).text == meant


def test_what_is_linked_is_labelled_once() -> None:
    mention = Mention("title", 4, 8, "heat", ("other",))
    found = labelled("saw heat", [HEAT], [mention])
    assert found.text == "saw [T1 heat]"
    assert found.titles == {"S1": "heat", "T1": "other"}
