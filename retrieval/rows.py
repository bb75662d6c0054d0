"""Rows of a JSONL, CSV or Parquet file, one at a time, with the line each began on.

Knows nothing of items: a row is a mapping of column names to values, or a `BadRow` that says why it could not be read.
Memory does not grow with the file: a line longer than `MAX_LINE` bytes is passed over, never held.
"""

from __future__ import annotations

import csv
import gzip
import zlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import zip_longest
from pathlib import Path
from typing import IO, Any, Literal, cast, get_args

from pydantic_core import from_json

Format = Literal["jsonl", "csv", "parquet"]
FORMATS: tuple[Format, ...] = get_args(Format)
Row = dict[str, Any]
BytesRead = Callable[[int, int], None]
"""Called with how much of the file is read and how much there is: bytes, or rows of a Parquet file."""

MAX_LINE = 1 << 20
_BATCH = 1000
_SUFFIXES: dict[str, Format] = {
    ".jsonl": "jsonl", ".ndjson": "jsonl", ".csv": "csv", ".tsv": "csv", ".parquet": "parquet", ".pq": "parquet",
}  # fmt: skip
_UTF16 = (b"\xff\xfe", b"\xfe\xff")
_BOM = b"\xef\xbb\xbf"


class ImportFileError(RuntimeError):
    """A file cannot be imported at all."""


@dataclass(frozen=True)
class BadRow:
    """Why the row that begins on ``line`` (1-based; the row's number for Parquet) was left out."""

    line: int
    reason: str

    def __str__(self) -> str:
        return f"line {self.line}: {self.reason}"


def guess_format(path: Path) -> Format:
    """The format that ``path``'s suffix names, with or without ``.gz``; ImportFileError when it names none."""
    suffix = Path(path.stem).suffix if path.suffix == ".gz" else path.suffix
    if found := _SUFFIXES.get(suffix.lower()):
        return found
    raise ImportFileError(f"{path.name} does not say what it holds: give --format {', '.join(FORMATS)}")


def read_rows(path: Path, form: Format, progress: BytesRead | None = None) -> Iterator[tuple[int, Row] | BadRow]:
    """The rows of ``path`` with their lines. ImportFileError when the file cannot be read as ``form``."""
    readers = {"jsonl": _jsonl, "csv": _csv, "parquet": _parquet}
    try:
        yield from readers[form](path, progress or _silent)
    except (OSError, EOFError, zlib.error) as error:
        raise ImportFileError(f"{path} cannot be read: {error}") from error


@dataclass(frozen=True)
class _Line:
    """A line with its newline; one that has a ``fault`` is readable in part or not at all."""

    number: int
    text: str
    fault: str | None = None


def _jsonl(path: Path, progress: BytesRead) -> Iterator[tuple[int, Row] | BadRow]:
    for line in _lines(path, progress):
        if line.fault is not None:
            yield BadRow(line.number, line.fault)
        elif line.text.strip():
            try:
                row = from_json(line.text, allow_inf_nan=False)
            except ValueError as error:
                yield BadRow(line.number, f"is not JSON: {str(error).replace(' at line 1 column', ' at column')}")
                continue
            yield (line.number, row) if isinstance(row, dict) else BadRow(line.number, "is not a JSON object")


def _csv(path: Path, progress: BytesRead) -> Iterator[tuple[int, Row] | BadRow]:
    lines = _CsvLines(_lines(path, progress))
    header_line = next(iter(lines), "")
    if not header_line.strip():
        raise ImportFileError(f"{path} has no header: its first line must name the columns")
    delimiter = max(",;\t", key=header_line.count)
    header = [name.strip() for name in next(csv.reader([header_line], delimiter=delimiter))]
    if len(set(header)) < len(header):
        raise ImportFileError(f"{path}: two columns of the header have the same name: {', '.join(header)}")
    reader = csv.reader(lines, delimiter=delimiter)
    while True:
        lines.begin()
        try:
            cells = next(reader)
        except StopIteration:
            return
        except csv.Error as error:
            yield BadRow(lines.first, f"is not CSV: {error}; is a quotation mark left open?")
            continue
        if lines.bad is not None:
            yield lines.bad
        elif len(cells) > len(header):
            yield BadRow(
                lines.first, f"has {len(cells)} cells and the header {len(header)}: is a quotation mark missing?"
            )
        elif cells:
            yield lines.first, dict(zip_longest(header, cells))


class _CsvLines:
    """Feeds lines to a CSV reader; remembers where a row began and whether a line of it was bad."""

    def __init__(self, lines: Iterator[_Line]) -> None:
        self._lines = lines
        self.begin()

    def begin(self) -> None:
        """A new row begins."""
        self.first = 0
        self.bad: BadRow | None = None

    def __iter__(self) -> Iterator[str]:
        return self

    def __next__(self) -> str:
        line = next(self._lines)
        self.first = self.first or line.number
        if line.fault is not None and self.bad is None:
            self.bad = BadRow(line.number, line.fault)
        return line.text


def _parquet(path: Path, progress: BytesRead) -> Iterator[tuple[int, Row] | BadRow]:
    import pyarrow
    from pyarrow import parquet

    try:
        with parquet.ParquetFile(path) as file:
            total, number = file.metadata.num_rows, 0
            for batch in file.iter_batches(batch_size=_BATCH):
                for row in batch.to_pylist():
                    number += 1
                    yield number, row
                progress(number, total)
    except pyarrow.ArrowException as error:
        raise ImportFileError(f"{path} cannot be read as Parquet: {error}") from error


def _lines(path: Path, progress: BytesRead) -> Iterator[_Line]:
    """The lines of a text file, numbered from 1."""
    total = path.stat().st_size
    with path.open("rb") as raw:
        stream = cast("IO[bytes]", gzip.GzipFile(fileobj=raw)) if path.suffix == ".gz" else raw
        number = 0
        while data := stream.readline(MAX_LINE + 1):
            number += 1
            yield _decoded(number, _without_mark(path, data) if number == 1 else data, stream)
            if number % _BATCH == 0:
                progress(min(raw.tell(), total), total)
    progress(total, total)


def _decoded(number: int, data: bytes, stream: IO[bytes]) -> _Line:
    if len(data) > MAX_LINE and not data.endswith(b"\n"):
        while data and not data.endswith(b"\n"):
            data = stream.readline(MAX_LINE)
        return _Line(number, "\n", f"is longer than {MAX_LINE:,} bytes")
    try:
        return _Line(number, data.decode())
    except UnicodeDecodeError as error:
        fault = f"is not UTF-8: byte {data[error.start]:#04x} at column {error.start + 1}; save it as UTF-8"
        return _Line(number, data.decode(errors="replace"), fault)  # a CSV row's quotation marks still count


def _without_mark(path: Path, data: bytes) -> bytes:
    if data.startswith(_UTF16):
        raise ImportFileError(f"{path} is UTF-16: save it as UTF-8")
    return data.removeprefix(_BOM)


def _silent(_done: int, _total: int) -> None:
    """Reports to nobody."""
