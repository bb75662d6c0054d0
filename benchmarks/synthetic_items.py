"""A synthetic catalogue of any size: vectors that lie as the bundled films' do, and facets as skewed as a catalogue's.

Vectors are drawn from a mixture of clusters on the unit sphere. Its mean and covariance are the bundled films', and
clusters are as tight as makes the nearest neighbours of a draw as near as the films' are. Genres belong to clusters,
as they do in life, so what a filter leaves may lie far from a query; years, countries, people and popularity do not.
Everything follows from the seed. Knows nothing of indexes.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from retrieval.ann import FloatArray, IntArray
from retrieval.bundled import known_vectors
from retrieval.encoder import BUNDLED_SHA256
from retrieval.item import Item
from retrieval.wish import Wish

CLUSTERS = 1_000
SHARED = 0.4
"""The part of the variance that items of one cluster have in common; tests/benchmarks holds it against the films."""

GENRES = (
    "drama",
    "comedy",
    "thriller",
    "romance",
    "action",
    "documentary",
    "horror",
    "crime",
    "adventure",
    "fantasy",
    "mystery",
    "animation",
    "history",
    "music",
    "war",
    "western",
)
COUNTRIES = (
    "usa",
    "india",
    "uk",
    "france",
    "japan",
    "germany",
    "canada",
    "italy",
    "spain",
    "china",
    "mexico",
    "brazil",
    "sweden",
    "korea",
    "poland",
    "iran",
    "denmark",
    "turkey",
    "argentina",
    "austria",
    "norway",
    "hungary",
    "chile",
    "senegal",
)
YEARS = (1920, 2024)
_OWN_GENRE = 0.8  # of an item's genres, the part that are its cluster's
_YEARS_DOUBLE = 15.0  # the years in which the number of items made in one doubles
_CAST = 3
_CHUNK = 20_000


@dataclass(frozen=True)
class Mixture:
    """Clusters about the ``mean`` (d,) of the films; ``root`` (d, d) is a root of their covariance."""

    mean: FloatArray
    root: FloatArray
    centres: FloatArray
    weights: npt.NDArray[np.float64]

    @classmethod
    def of_films(cls, seed: int) -> Mixture:
        """The mixture fitted to the bundled films' vectors."""
        films = np.stack(list(known_vectors(BUNDLED_SHA256).values()))
        mean = films.mean(axis=0)
        _, spread, directions = np.linalg.svd(films - mean, full_matrices=False)
        root = (spread[:, None] / np.sqrt(len(films) - 1) * directions).astype(np.float32)
        centres = np.random.default_rng(seed).standard_normal((CLUSTERS, len(mean)), dtype=np.float32)
        return cls(mean, root, centres, _zipf(CLUSTERS, 0.7))

    def draw(self, count: int, rng: np.random.Generator) -> tuple[FloatArray, IntArray]:
        """Unit vectors, float32 (count, d), and the cluster of each, int64 (count,)."""
        clusters = rng.choice(CLUSTERS, size=count, p=self.weights)
        vectors = np.empty((count, len(self.mean)), dtype=np.float32)
        for begin in range(0, count, _CHUNK):
            part = clusters[begin : begin + _CHUNK]
            own = rng.standard_normal((len(part), len(self.root)), dtype=np.float32)
            rows = self.mean + (SHARED**0.5 * self.centres[part] + (1 - SHARED) ** 0.5 * own) @ self.root
            vectors[begin : begin + _CHUNK] = rows / np.linalg.norm(rows, axis=1, keepdims=True)
        return vectors, clusters


class SyntheticItems:
    """``count`` items with their ``vectors`` (count, d), and ``queries`` (asked, d): draws that are no item's."""

    def __init__(self, count: int, asked: int, seed: int = 0) -> None:
        rng = np.random.default_rng([seed, count])
        mixture = Mixture.of_films(seed)
        self.vectors, clusters = mixture.draw(count, rng)
        self.queries, _ = mixture.draw(asked, rng)
        of_cluster = rng.choice(len(GENRES), size=(CLUSTERS, 2), p=_zipf(len(GENRES), 1.0))
        stray = rng.random((count, 2)) >= _OWN_GENRE
        self._genres = np.where(
            stray, rng.choice(len(GENRES), size=(count, 2), p=_zipf(len(GENRES), 1.0)), of_cluster[clusters]
        )
        span = YEARS[1] - YEARS[0] + 1
        growth = 2 ** (np.arange(span) / _YEARS_DOUBLE)
        self._years = YEARS[0] + rng.choice(span, size=count, p=growth / growth.sum())
        self._countries = rng.choice(len(COUNTRIES), size=count, p=_zipf(len(COUNTRIES), 1.2))
        self._people = (rng.pareto(1.0, size=(count, _CAST)) * count / 100).astype(np.int64) % max(1, count // 2)
        self._popularity = rng.pareto(1.2, size=count)

    def __len__(self) -> int:
        return len(self.vectors)

    @property
    def ids(self) -> list[str]:
        """The ids in rising order, which is the vectors'."""
        return [item_id(number) for number in range(len(self))]

    def __iter__(self) -> Iterator[Item]:
        """The items in the order of their vectors."""
        columns = (self._genres, self._years, self._countries, self._people, self._popularity)
        for number, (genres, year, country, people, popularity) in enumerate(
            zip(*(column.tolist() for column in columns), strict=True)
        ):
            director, *cast = (f"Person N{person}" for person in people)
            yield Item(
                id=item_id(number),
                title=f"Item {number}",
                year=year,
                genres=tuple(dict.fromkeys(GENRES[genre] for genre in genres)),
                countries=(COUNTRIES[country],),
                people={"director": (director,), "cast": tuple(cast)},
                description="A synthetic item.",
                popularity=popularity,
            )

    def filters(self) -> dict[str, Wish]:
        """Wishes by what they filter: nothing, and what leaves about a tenth, a hundredth and a thousandth."""
        held = [np.any(self._genres == genre, axis=1).mean() for genre in range(len(GENRES))]
        genre = GENRES[int(np.argmin(np.abs(np.array(held) - 0.1)))]
        share = np.bincount(self._countries, minlength=len(COUNTRIES)) / len(self)
        country = COUNTRIES[int(np.argmin(np.abs(share - 0.01)))]
        until = int(np.quantile(self._years, 0.1))
        return {
            "none": Wish(),
            "years": Wish(year_to=until),
            "genre": Wish(genres=(genre,)),
            "country": Wish(countries=(country,)),
            "genre and country": Wish(genres=(genre,), countries=(country,)),
        }


def item_id(number: int) -> str:
    """The id of an item; ids rise with the numbers."""
    return f"item-{number:08d}"


def _zipf(count: int, exponent: float) -> npt.NDArray[np.float64]:
    weights = np.arange(1, count + 1) ** -exponent
    return weights / weights.sum()
