"""Hypothesis strategies for catalogue items."""

from __future__ import annotations

from hypothesis import strategies as st

from retrieval.item import Item

_TEXT = st.text(st.characters(exclude_categories=("Cs", "Cc", "Z")), min_size=1, max_size=20)
_PEOPLE = st.dictionaries(st.sampled_from(["director", "cast", "author"]), st.lists(_TEXT, max_size=3), max_size=2)
# No letter whose lower case is longer: it would pass Item's length limit once only.
_FACETS = st.lists(st.text("abc déß-1", min_size=1, max_size=12).filter(str.strip), max_size=3)
_JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | _TEXT,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(_TEXT, inner, max_size=3),
    max_leaves=5,
)


def items(ids: st.SearchStrategy[str] | None = None) -> st.SearchStrategy[Item]:
    """Any item; ``ids`` narrows what it is called."""
    return st.builds(
        Item,
        id=st.from_regex(r"[A-Za-z0-9][A-Za-z0-9._:-]{0,8}", fullmatch=True) if ids is None else ids,
        title=_TEXT,
        original_title=st.none() | _TEXT,
        year=st.none() | st.integers(-3000, 2200),
        kind=st.sampled_from(["film", "book"]),
        genres=_FACETS,
        moods=_FACETS,
        countries=_FACETS,
        languages=_FACETS,
        people=_PEOPLE,
        keywords=_FACETS,
        # An import takes one of nothing but separators for none.
        description=st.text(st.characters(exclude_categories=("Cs", "Z")), max_size=60).filter(
            lambda t: bool(t.strip()) or not t
        ),
        popularity=st.floats(0, 1e300),
        image=st.none() | _TEXT,
        url=st.none() | _TEXT,
        attributes=st.dictionaries(_TEXT, _JSON, max_size=3),
    )


def many_items(max_size: int = 8) -> st.SearchStrategy[list[Item]]:
    """Items of different ids."""
    return st.lists(items(), max_size=max_size, unique_by=lambda item: item.id)
