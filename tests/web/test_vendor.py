"""Vendored files are what their manifest says, and the page asks nothing of another host."""

from __future__ import annotations

import hashlib
import json
import re

import pytest

from assistant.api.app import WEB

VENDOR = WEB / "vendor"
MANIFEST = json.loads((VENDOR / "VENDOR.json").read_text())


@pytest.mark.parametrize("entry", MANIFEST, ids=lambda entry: entry["name"])
def test_a_vendored_file_has_its_declared_digest_and_licence(entry):
    assert hashlib.sha256((VENDOR / entry["file"]).read_bytes()).hexdigest() == entry["sha256"]
    assert entry["version"]
    assert entry["licence"]
    assert all((VENDOR / name).is_file() for name in entry["licence_files"])


def test_every_vendored_file_is_declared():
    declared = {"VENDOR.json"}.union(*({entry["file"], *entry["licence_files"]} for entry in MANIFEST))
    assert {path.name for path in VENDOR.iterdir()} == declared


@pytest.mark.parametrize("path", sorted(WEB.glob("*.*")), ids=lambda path: path.name)
def test_the_page_never_builds_html_of_text_and_loads_from_this_server_only(path):
    source = path.read_text().replace("http://www.w3.org/2000/svg", "")
    assert not re.search(r"innerHTML|outerHTML|insertAdjacentHTML|document\.write|\beval\(", source, re.IGNORECASE)
    assert "//cdn" not in source
    assert not re.search(r"https?://", source)
    if path.suffix == ".html":
        assert not re.search(r"<script(?![^>]*\bsrc=)|\son\w+=|\sstyle=|<style", source)
