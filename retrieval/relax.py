"""What to loosen in a wish that nothing fits. Refusals and what is known already are never loosened."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator, Sequence
from typing import NamedTuple

from retrieval.wish import Wish

YEARS_WIDER = 10


class Loosening(NamedTuple):
    """One constraint given up: in plain words ("1980-1989", "from France"), and how."""

    given_up: str
    apply: Callable[[Wish], Wish]


def relax(wish: Wish) -> Iterator[tuple[tuple[str, ...], Wish]]:
    """The relaxations of ``wish``, nearest first: each with the parts of the wish it gives up, in plain words.

    One thing at a time first (years are widened before they are dropped), then two, then ever more together. The wish
    itself is not among them, and what is soft anyway (moods, the topic) is left as it is.
    """
    steps = list(_steps(wish))
    dropping = [step for step in steps if step.apply is not _widen_years]
    for group in ((step,) for step in steps):
        yield _apply(wish, group)
    for pair in itertools.combinations(steps, 2):
        if pair[0].given_up != pair[1].given_up:
            yield _apply(wish, pair)
    for size in range(3, len(dropping) + 1):
        yield _apply(wish, tuple(dropping[:size]))


def _apply(wish: Wish, group: Sequence[Loosening]) -> tuple[tuple[str, ...], Wish]:
    for step in group:
        wish = step.apply(wish)
    return tuple(step.given_up for step in group), wish


def _steps(wish: Wish) -> Iterator[Loosening]:
    if years := wish.years:
        yield Loosening(years, _widen_years)
        yield Loosening(years, lambda old: old.model_copy(update={"year_from": None, "year_to": None}))
    for genre in reversed(wish.genres[1:]):
        yield Loosening(genre, _without_genre(genre))
    if wish.countries:
        yield Loosening(f"from {' or '.join(map(str.title, wish.countries))}", _clear("countries"))
    if wish.languages:
        yield Loosening(f"in {' or '.join(map(str.title, wish.languages))}", _clear("languages"))
    if wish.people:
        yield Loosening(f"with {' or '.join(wish.people)}", _clear("people"))
    if wish.genres:
        yield Loosening(wish.genres[0], _without_genre(wish.genres[0]))
    if wish.kind is not None:
        yield Loosening(wish.kind, lambda old: old.model_copy(update={"kind": None}))


def _widen_years(wish: Wish) -> Wish:
    first = None if wish.year_from is None else wish.year_from - YEARS_WIDER
    last = None if wish.year_to is None else wish.year_to + YEARS_WIDER
    return wish.model_copy(update={"year_from": first, "year_to": last})


def _without_genre(genre: str) -> Callable[[Wish], Wish]:
    return lambda old: old.model_copy(update={"genres": tuple(value for value in old.genres if value != genre)})


def _clear(field: str) -> Callable[[Wish], Wish]:
    return lambda old: old.model_copy(update={field: ()})
