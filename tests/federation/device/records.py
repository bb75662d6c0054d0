"""Hypothesis strategies of what a device's store holds."""

from __future__ import annotations

from hypothesis import strategies as st

from federation.device.base import Event
from federation.device.records import VERDICTS, Conversation, Impression, Reply, Turn

times = st.floats(min_value=-1e10, max_value=1e11) | st.integers(min_value=0, max_value=20).map(float)
texts = st.text(max_size=20)
items = st.sampled_from(["alien-1979", "solaris-1972", "amelie-2001", "ml-1", "a:b", "é"])
verdicts = st.sampled_from(VERDICTS)
events = st.builds(Event, times, items, verdicts)
turns = st.builds(Turn, st.sampled_from(["user", "assistant"]), texts, times)
lists = st.lists(texts, max_size=2).map(tuple)
replies = st.builds(Reply, texts, texts, texts, lists, texts, lists)
wishes = st.dictionaries(texts, st.none() | st.booleans() | st.integers() | texts | st.lists(texts, max_size=3))


@st.composite
def impressions(draw: st.DrawFn, names: st.SearchStrategy[str] = texts) -> Impression:
    """An impression of up to six items, some of them shown."""
    candidates = tuple(draw(st.lists(items, unique=True, max_size=6)))
    shown = tuple(draw(st.lists(st.sampled_from(candidates), unique=True))) if candidates else ()
    return Impression(draw(times), draw(wishes), candidates, shown, draw(names), draw(st.none() | replies))


@st.composite
def conversations(draw: st.DrawFn, names: st.SearchStrategy[str] = texts) -> Conversation:
    """A conversation of up to five turns."""
    said = tuple(draw(st.lists(turns, min_size=1, max_size=5)))
    return Conversation(draw(names), said[0].at, said)
