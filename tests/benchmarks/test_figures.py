"""Benchmarks leave figures that can be read again, with what they ran on and how to run them."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from benchmarks import report
from tools.figures import figures_text


def test_a_result_says_what_it_ran_on_and_how(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = report.write("walking", "python -m benchmarks.walking --far", [{"miles": 3, "hours": 1.5}], tmp_path)
    result = json.loads(path.read_text())
    assert (path.name, result["benchmark"]) == ("walking.json", "walking")
    assert result["rows"] == [{"miles": 3, "hours": 1.5}]
    assert result["machine"]["cores"] >= 1
    assert set(result["machine"]) == {"cpu", "cores", "memory_gb", "bf16", "gpus", "system", "python"}
    assert "| 3 | 1.5 |" in capsys.readouterr().out


def test_a_table_begins_where_the_columns_or_the_heading_change() -> None:
    rows = [{"table": "A", "n": 1200}, {"table": "A", "n": None}, {"table": "B", "n": 2}, {"m": "x"}]
    text = report.tables(rows)
    assert text.count("---") == 3
    assert text.startswith("**A**\n\n| n |\n| ---: |\n| 1,200 |\n| – |\n\n**B**")


def test_quantiles_of_nothing_are_nothing() -> None:
    assert report.quantiles([], "s") == {"p50 s": None, "p95 s": None}
    assert report.quantiles([1, 2, 3], "ms")["p50 ms"] == 2


def test_the_page_of_figures_holds_every_result_and_its_picture(tmp_path: Path) -> None:
    assert "make bench" in figures_text(tmp_path, tmp_path)
    report.write("walking", "python -m benchmarks.walking", [{"miles": 3}], tmp_path)
    report.write("running", "python -m benchmarks.running", [{"miles": 9}], tmp_path)
    (tmp_path / "running.svg").touch()
    text = figures_text(tmp_path, tmp_path)
    assert text.index("## running") < text.index("## walking")
    assert f"![running]({tmp_path.name}/running.svg)" in text
    assert "![walking]" not in text
    assert "python -m benchmarks.walking" in text
