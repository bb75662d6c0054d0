"""A population small enough to write down: two tastes, drama and space, of people who go through a list of films."""

from __future__ import annotations

from federation.device.base import Event
from federation.device.population import Population
from retrieval.item import Item

FILMS = 160
GENRES = ("drama", "science fiction")


def population(people: int = 40, length: int = 12) -> Population:
    """Even people go through even films, odd ones through odd; each starts two films after the one before."""
    items = {
        f"ml-{n}": Item(id=f"ml-{n}", title=f"Film {n}", year=1950 + n % 50, genres=(GENRES[n % 2],))
        for n in range(FILMS)
    }
    histories = {
        str(person): tuple(Event(float(k), f"ml-{(person + 2 * k) % 80}") for k in range(length))
        for person in range(people)
    }
    return Population(items, histories)
