"""Reading items from a file into a catalogue: one row at a time, with an account of the rows that were left out."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator, Mapping
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path

from retrieval.catalogue import Catalogue
from retrieval.item import Item
from retrieval.mapping import BadItemError, RowReader
from retrieval.rows import BadRow, BytesRead, Format, ImportFileError, guess_format, read_rows

BAD_ROWS_KEPT = 1000
"""So many bad rows are listed; the others are counted."""


@dataclass
class Report:
    """What an import read: rows taken, rows left out and why, and columns that were kept as attributes."""

    good: int = 0
    bad: int = 0
    bad_rows: list[BadRow] = field(default_factory=list)
    attributes: dict[str, int] = field(default_factory=dict)

    def reject(self, row: BadRow) -> None:
        """Counts ``row`` out."""
        self.bad += 1
        if len(self.bad_rows) < BAD_ROWS_KEPT:
            self.bad_rows.append(row)


class StrictImportError(ImportFileError):
    """A strict import met bad rows; ``report`` lists them, and nothing was imported."""

    def __init__(self, report: Report) -> None:
        super().__init__(f"{report.bad:,} bad rows and --strict: nothing was imported")
        self.report = report


def import_file(
    catalogue: Catalogue,
    path: Path,
    *,
    form: Format | None = None,
    fields: Mapping[str, str] | None = None,
    strict: bool = False,
    append: bool = False,
    progress: BytesRead | None = None,
) -> Report:
    """Makes the items of ``path`` the whole of ``catalogue``, or adds them to it when ``append``.

    ``fields`` maps an item's fields to the file's columns. A bad row is left out and listed in the report; when
    ``strict``, any bad row raises StrictImportError. ImportFileError when the file cannot be read, or holds
    no item at all. Whatever is raised, the catalogue stays as it was.
    """
    report = Report()
    items = read_items(path, form=form, fields=fields, report=report, progress=progress)
    (catalogue.put if append else catalogue.replace)(_checked(items, path, report, strict=strict))
    return report


def read_items(
    path: Path,
    *,
    form: Format | None = None,
    fields: Mapping[str, str] | None = None,
    report: Report | None = None,
    progress: BytesRead | None = None,
) -> Iterator[Item]:
    """The items of ``path``, in memory that does not grow with it; what is left out goes into ``report``.

    Of several rows with one id the first is taken. ImportFileError when the file cannot be read.
    """
    report = Report() if report is None else report
    form = guess_format(path) if form is None else form
    reader = RowReader(fields)
    report.attributes = reader.unknown
    columns_known = form == "jsonl"  # whose rows may each have columns of their own
    with closing(_Seen()) as seen:
        for row in read_rows(path, form, progress):
            if isinstance(row, BadRow):
                report.reject(row)
                continue
            line, cells = row
            if not columns_known:
                reader.check_header(frozenset(cells))
                columns_known = True
            try:
                item = reader.item(cells)
                seen.add(item.id, line)
            except BadItemError as error:
                report.reject(BadRow(line, str(error)))
                continue
            report.good += 1
            yield item


def _checked(items: Iterator[Item], path: Path, report: Report, *, strict: bool) -> Iterator[Item]:
    """``items``, with an error at their end when they are not to be imported."""
    yield from items
    if strict and report.bad:
        raise StrictImportError(report)
    if not report.good:
        reason = f"; the first bad one is {report.bad_rows[0]}" if report.bad else ""
        raise ImportFileError(f"{path} holds no item: {report.bad:,} bad rows{reason}")


class _Seen:
    """The ids of a file so far, with their lines, in a temporary SQLite file rather than in memory."""

    def __init__(self) -> None:
        self._database = sqlite3.connect("", isolation_level=None)
        self._database.execute("CREATE TABLE seen (id TEXT PRIMARY KEY, line INTEGER) WITHOUT ROWID")
        self._database.execute("BEGIN")

    def add(self, item_id: str, line: int) -> None:
        """BadItemError when the id was seen before."""
        try:
            self._database.execute("INSERT INTO seen VALUES (?, ?)", (item_id, line))
        except sqlite3.IntegrityError:
            (first,) = self._database.execute("SELECT line FROM seen WHERE id = ?", (item_id,)).fetchone()
            raise BadItemError(f"the id {item_id} was given on line {first} already") from None

    def close(self) -> None:
        self._database.close()
