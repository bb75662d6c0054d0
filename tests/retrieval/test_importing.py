from __future__ import annotations

import datetime
import gzip
import json
import tempfile
import tracemalloc
from collections.abc import Iterator, Mapping
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings

from retrieval import importing, rows
from retrieval.catalogue import Catalogue
from retrieval.importing import Report, StrictImportError, import_file, read_items
from retrieval.item import Item
from retrieval.mapping import item_id
from retrieval.rows import ImportFileError, guess_format
from tests.retrieval.strategies import many_items


@pytest.fixture
def catalogue(tmp_path: Path) -> Iterator[Catalogue]:
    with Catalogue.open(tmp_path / "home" / "catalogue.sqlite") as made:
        made.put([Item(id="former", title="Former")])
        yield made


def written(folder: Path, name: str, content: str | bytes) -> Path:
    path = folder / name
    path.write_bytes(content.encode() if isinstance(content, str) else content)
    return path


def read(path: Path, fields: Mapping[str, str] | None = None) -> tuple[list[Item], list[str]]:
    report = Report()
    items = list(read_items(path, fields=fields, report=report))
    assert report.good == len(items)
    return items, [str(row) for row in report.bad_rows]


@settings(deadline=None, max_examples=40)
@given(many_items(5))
def test_any_items_come_back_from_jsonl(given_items: list[Item]) -> None:
    with tempfile.TemporaryDirectory() as folder:
        path = written(Path(folder), "items.jsonl", "".join(item.model_dump_json() + "\n" for item in given_items))
        assert read(path) == (given_items, [])


@settings(deadline=None, max_examples=20)
@given(many_items(5))
def test_any_items_come_back_from_parquet(given_items: list[Item]) -> None:
    columns = {
        name: [json.dumps(value) if isinstance(value, dict) else value for value in values]
        for name in Item.model_fields
        for values in [[item.model_dump(mode="json")[name] for item in given_items]]
    }
    with tempfile.TemporaryDirectory() as folder:
        pq.write_table(pa.table(columns), Path(folder) / "items.parquet")
        assert read(Path(folder) / "items.parquet") == (given_items, [])


def test_columns_are_mapped_and_lists_split(tmp_path: Path) -> None:
    path = written(
        tmp_path,
        "films.csv",
        "name;released;genres;directors;stars;budget\n"
        'Alien;1979-05-25;Science Fiction|Horror;Ridley Scott;"[""Sigourney Weaver"", ""Tom Skerritt""]";11\n',
    )
    items, bad = read(path, {"title": "name", "year": "released", "people.director": "directors"})
    assert bad == []
    assert items == [
        Item(
            id="alien-1979",
            title="Alien",
            year=1979,
            genres=("science fiction", "horror"),
            people={"director": ("Ridley Scott",), "cast": ("Sigourney Weaver", "Tom Skerritt")},
            attributes={"budget": "11"},
        )
    ]


def test_movielens_needs_no_mapping(tmp_path: Path) -> None:
    path = written(
        tmp_path,
        "movies.csv",
        "movieId,title,genres\n"
        '29,"City of Lost Children, The (Cité des enfants perdus, La) (1995)",Adventure|Sci-Fi\n'
        '47,"Avventura, L\' (Adventure, The) (1960)",Drama\n'
        "8,Seven (a.k.a. Se7en) (1995),Film-Noir|Children\n"
        "9,(500) Days of Summer (2009),(no genres listed)\n"
        "10,Babylon 5,Sci-Fi\n",
    )
    items, bad = read(path)
    assert bad == []
    assert [(item.id, item.title, item.original_title, item.year, item.genres) for item in items] == [
        ("29", "The City of Lost Children", "La Cité des enfants perdus", 1995, ("adventure", "science fiction")),
        ("47", "L'Avventura", "The Adventure", 1960, ("drama",)),
        ("8", "Seven", "Se7en", 1995, ("film noir", "family")),
        ("9", "(500) Days of Summer", None, 2009, ()),
        ("10", "Babylon 5", None, None, ("science fiction",)),
    ]


def test_parquet_types_become_json(tmp_path: Path) -> None:
    table = pa.table(
        {
            "id": pa.array([7.0, None]),
            "title": ["Alien", "Aliens"],
            "year": pa.array([1979.0, float("nan")]),
            "genres": [["horror"], None],
            "people": pa.array([[("director", ["Ridley Scott"])], []], pa.map_(pa.string(), pa.list_(pa.string()))),
            "seen_on": [datetime.date(2024, 5, 1), None],
        }
    )
    pq.write_table(table, tmp_path / "films.parquet")
    items, bad = read(tmp_path / "films.parquet")
    assert bad == []
    assert items == [
        Item(
            id="7",
            title="Alien",
            year=1979,
            genres=("horror",),
            people={"director": ("Ridley Scott",)},
            attributes={"seen_on": "2024-05-01"},
        ),
        Item(id="aliens", title="Aliens"),
    ]


def test_bad_rows_are_listed_by_line_and_reason(tmp_path: Path) -> None:
    path = written(
        tmp_path,
        "films.jsonl",
        b"\xef\xbb\xbf"
        b'{"title": "Alien", "year": 1979}\n'
        b'{"title": "Alien", "year": 1979}\n'
        b"\n"
        b'{"year": 1979}\n'
        b'{"title": "Dune", "year": "soon"}\n'
        b'["Dune"]\n'
        b'{"title": "Dune"\n'
        b'{"title": "Am\xe9lie"}\n'
        b'{"id": "a b", "title": "Heat", "year": 9999, "popularity": 1e999}\n'
        b'{"title": "Heat", "people": "Michael Mann"}\n'
        b'{"title": "Heat", "year": 1995}',
    )
    items, bad = read(path)
    assert [item.id for item in items] == ["alien-1979", "heat-1995"]
    assert [line.split(":")[0] for line in bad] == [f"line {n}" for n in (2, 4, 5, 6, 7, 8, 9, 10)]
    assert bad[0] == "line 2: the id alien-1979 was given on line 1 already"
    assert bad[1] == "line 4: title is missing"
    assert bad[2].startswith("line 5: year: input should be a valid integer")
    assert bad[2].endswith("not 'soon'")
    assert bad[3] == "line 6: is not a JSON object"
    assert bad[4].startswith("line 7: is not JSON: ")
    assert bad[5] == "line 8: is not UTF-8: byte 0xe9 at column 14; save it as UTF-8"
    assert "id: " in bad[6]
    assert "year: input should be less than or equal to 2200, not 9999" in bad[6]
    assert "people must be an object" in bad[7]


def test_csv_rows_keep_their_line_numbers(tmp_path: Path) -> None:
    path = written(
        tmp_path,
        "films.csv",
        b"\xef\xbb\xbftitle,year,description\n"
        b'Alien,1979,"One line\nand another"\n'
        b'Dune,2021,"Caf\xe9\n and more"\n'
        b"Heat,1995,Cops, robbers\n"
        b"Up\n",
    )
    items, bad = read(path)
    assert [item.title for item in items] == ["Alien", "Up"]
    assert items[0].description == "One line\nand another"
    assert bad == [
        "line 4: is not UTF-8: byte 0xe9 at column 15; save it as UTF-8",
        "line 6: has 4 cells and the header 3: is a quotation mark missing?",
    ]


def test_an_open_quotation_mark_costs_no_more_than_its_field(tmp_path: Path) -> None:
    path = written(tmp_path, "films.csv", 'title\n"Alien\n' + "".join(f"Dune {n}\n" for n in range(20_000)))
    items, bad = read(path)
    assert len(bad) == 1
    assert bad[0].startswith("line 2: is not CSV: field larger than field limit")
    assert bad[0].endswith("is a quotation mark left open?")
    assert len(items) > 5_000
    assert items[-1].title == "Dune 19999"


@pytest.mark.parametrize("name", ["films.jsonl", "films.csv"])
def test_an_oversized_line_is_refused_and_the_next_one_read(tmp_path: Path, name: str) -> None:
    header, row = ("title\n", "Heat\n") if name.endswith("csv") else ("", '{"title": "Heat"}\n')
    path = written(tmp_path, name, header + "x" * (3 * rows.MAX_LINE) + "\n" + row)
    items, bad = read(path)
    assert [item.title for item in items] == ["Heat"]
    assert bad == [f"line {1 + bool(header)}: is longer than 1,048,576 bytes"]


def test_memory_does_not_grow_with_the_file(
    tmp_path: Path, catalogue: Catalogue, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("retrieval.catalogue._PAGE", 100)
    line = json.dumps({"title": "%d", "description": "x" * 500})
    path = tmp_path / "films.jsonl.gz"
    with gzip.open(path, "wt", compresslevel=1) as stream:
        stream.writelines(f"{line % number}\n" for number in range(6_000))
    tracemalloc.start()
    try:
        import_file(catalogue, path)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert len(catalogue) == 6_000
    assert peak < 1_500_000, f"{peak:,} bytes for 3 MB"


def test_progress_ends_at_the_size_of_the_file(tmp_path: Path) -> None:
    path = written(tmp_path, "films.csv", "title\n" + "".join(f"Film {n}\n" for n in range(2500)))
    seen: list[tuple[int, int]] = []
    assert len(list(read_items(path, progress=lambda done, total: seen.append((done, total))))) == 2500
    assert len(seen) == 3
    assert seen == sorted(seen)
    assert seen[-1] == (path.stat().st_size, path.stat().st_size)


def test_import_replaces_and_append_adds(tmp_path: Path, catalogue: Catalogue) -> None:
    path = written(tmp_path, "films.jsonl", '{"title": "Alien"}\n{"year": 1}\n')
    report = import_file(catalogue, path, append=True)
    assert (report.good, report.bad) == (1, 1)
    assert [item.id for item in catalogue] == ["alien", "former"]
    import_file(catalogue, path)
    assert [item.id for item in catalogue] == ["alien"]


def test_strict_lists_every_bad_row_and_changes_nothing(tmp_path: Path, catalogue: Catalogue) -> None:
    path = written(tmp_path, "films.jsonl", '{"year": 1}\n{"title": "Alien"}\n{"year": 2}\n')
    with pytest.raises(StrictImportError, match="2 bad rows") as raised:
        import_file(catalogue, path, strict=True)
    assert [row.line for row in raised.value.report.bad_rows] == [1, 3]
    assert [item.id for item in catalogue] == ["former"]


def test_only_so_many_bad_rows_are_kept_but_all_are_counted(tmp_path: Path) -> None:
    path = written(tmp_path, "films.jsonl", "{}\n" * 1500)
    report = Report()
    assert list(read_items(path, report=report)) == []
    assert report.bad == 1500
    assert len(report.bad_rows) == importing.BAD_ROWS_KEPT


@pytest.mark.parametrize(
    ("name", "content", "fields", "message"),
    [
        ("films.txt", "Alien", None, "give --format jsonl, csv, parquet"),
        ("films.csv", "", None, "has no header"),
        ("films.csv", "title,title\nAlien,Alien\n", None, "same name"),
        ("films.csv", "\ufefftitle\nAlien\n".encode("utf-16"), None, "UTF-16"),
        ("films.csv", "title\nAlien\n", {"title": "name"}, "has no column name; it has title"),
        ("films.csv", "title\nAlien\n", {"titel": "title"}, "an item has no field 'titel'"),
        ("films.jsonl", "", None, "holds no item"),
        ("films.jsonl", "{}\n", None, "the first bad one is line 1: title is missing"),
        ("films.jsonl.gz", "not gzip", None, "cannot be read"),
        ("films.parquet", "not parquet", None, "cannot be read as Parquet"),
    ],
)
def test_a_file_that_cannot_be_imported_changes_nothing(
    tmp_path: Path,
    catalogue: Catalogue,
    name: str,
    content: str | bytes,
    fields: Mapping[str, str] | None,
    message: str,
) -> None:
    with pytest.raises(ImportFileError, match=message):
        import_file(catalogue, written(tmp_path, name, content), fields=fields)
    assert [item.id for item in catalogue] == ["former"]


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(ImportFileError, match=r"films\.csv cannot be read: .*No such file"):
        list(read_items(tmp_path / "films.csv"))


def test_the_format_is_that_of_the_suffix() -> None:
    names = ["a.jsonl", "a.NDJSON", "a.csv.gz", "a.tsv", "a.pq"]
    assert [guess_format(Path(name)) for name in names] == ["jsonl", "jsonl", "csv", "csv", "parquet"]


@pytest.mark.parametrize(
    ("title", "year", "expected"),
    [
        ("Amélie", 2001, "amelie-2001"),
        ("L'Avventura", 1960, "lavventura-1960"),
        ("Deadpool & Wolverine", 2024, "deadpool-and-wolverine-2024"),
        ("千と千尋の神隠し", 2001, "qian-toqian-xun-noshen-yin-shi-2001"),
        ("!!!", None, "item"),
        ("Ilias", -750, "ilias-750"),
        ("x" * 300, 1999, "x" * 120 + "-1999"),
    ],
)
def test_an_id_is_made_of_title_and_year(title: str, year: int | None, expected: str) -> None:
    assert item_id(title, year) == expected
