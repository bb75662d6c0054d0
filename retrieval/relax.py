"""What to loosen in a wish that nothing fits. Refusals and what is known already are never loosened."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator

from retrieval.wish import Wish

YEARS_WIDER = 10
ANY_YEAR = "any year"

Loosening = tuple[str, Callable[[Wish], Wish]]


def relax(wish: Wish) -> Iterator[tuple[str, Wish]]:
    """The relaxations of ``wish``, nearest first: each with what it loosens in plain words.

    One thing at a time first, then two, then ever more together. The wish itself is not among them, and what is soft
    anyway (moods, the topic) is left as it is.
    """
    for loosened, wider in relaxations(wish):
        yield ", ".join(loosened), wider


def relaxations(wish: Wish) -> Iterator[tuple[tuple[str, ...], Wish]]:
    """As `relax`, with what is loosened as a tuple."""
    steps = list(_steps(wish))
    together = [step for step in steps if step[0] != _wider_years(wish)]
    pairs = itertools.combinations(steps, 2)
    groups: list[tuple[Loosening, ...]] = [
        *((step,) for step in steps),
        *(pair for pair in pairs if {step[0] for step in pair} != {_wider_years(wish), ANY_YEAR}),
        *(tuple(together[:size]) for size in range(3, len(together) + 1)),
    ]
    for group in groups:
        yield _apply(wish, group)


def _apply(wish: Wish, group: tuple[Loosening, ...]) -> tuple[tuple[str, ...], Wish]:
    for _, loosen in group:
        wish = loosen(wish)
    return tuple(name for name, _ in group), wish


def _steps(wish: Wish) -> Iterator[Loosening]:
    if wish.year_from is not None or wish.year_to is not None:
        yield _wider_years(wish), _widen_years
        yield ANY_YEAR, lambda old: old.model_copy(update={"year_from": None, "year_to": None})
    for genre in reversed(wish.genres[1:]):
        yield f"not necessarily {genre}", _without_genre(genre)
    if wish.countries:
        yield f"not necessarily from {' or '.join(wish.countries)}", _clear("countries")
    if wish.languages:
        yield f"not necessarily in {' or '.join(wish.languages)}", _clear("languages")
    if wish.people:
        yield f"not necessarily with {' or '.join(wish.people)}", _clear("people")
    if wish.genres:
        yield f"not necessarily {wish.genres[0]}", _without_genre(wish.genres[0])
    if wish.kind is not None:
        yield f"not necessarily a {wish.kind}", lambda old: old.model_copy(update={"kind": None})


def _widen_years(wish: Wish) -> Wish:
    first = None if wish.year_from is None else wish.year_from - YEARS_WIDER
    last = None if wish.year_to is None else wish.year_to + YEARS_WIDER
    return wish.model_copy(update={"year_from": first, "year_to": last})


def _wider_years(wish: Wish) -> str:
    wider = _widen_years(wish)
    if wider.year_from is not None and wider.year_to is not None:
        return f"any year from {wider.year_from} to {wider.year_to}"
    return f"{wider.year_from} or later" if wider.year_from is not None else f"{wider.year_to} or earlier"


def _without_genre(genre: str) -> Callable[[Wish], Wish]:
    return lambda old: old.model_copy(update={"genres": tuple(value for value in old.genres if value != genre)})


def _clear(field: str) -> Callable[[Wish], Wish]:
    return lambda old: old.model_copy(update={field: ()})
