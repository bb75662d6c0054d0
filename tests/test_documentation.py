"""Documentation tells the truth: no setting, command or route is missing, and generated text is up to date."""

import importlib
import re
from pathlib import Path
from unittest.mock import MagicMock

import pytest
from typer.main import get_command

from assistant.cli.main import app
from assistant.settings import Settings
from tools import docs

DOCS = Path(__file__).resolve().parent.parent / "docs"


@pytest.mark.parametrize("name", docs.PAGES)
def test_the_generated_part_is_up_to_date(name):
    assert (DOCS / name).read_text(encoding="utf-8") == docs.page(name), "run: make docs"


def test_every_setting_is_documented_and_described():
    text = (DOCS / "settings.md").read_text(encoding="utf-8")
    for name, field in Settings.model_fields.items():
        assert f"`SOTTO_{name.upper()}`" in text
        assert field.description


def test_no_path_of_one_machine_is_in_the_settings():
    assert str(docs.ROOT) not in docs.settings_text()


def test_every_subcommand_is_documented():
    text = (DOCS / "cli.md").read_text(encoding="utf-8")
    for name in get_command(app).commands:
        assert f"## `sotto {name}`" in text


def test_every_file_of_the_command_line_is_registered():
    folder = DOCS.parent / "assistant" / "cli"
    modules = [importlib.import_module(f"assistant.cli.{path.stem}") for path in folder.glob("[!_]*.py")]
    subcommands = {m.__name__.rpartition(".")[2] for m in modules if hasattr(m, "command") or hasattr(m, "app")} - {
        "main"
    }
    assert subcommands == set(get_command(app).commands)


def test_every_route_of_the_api_is_documented():
    from assistant.api.app import create_app

    built = create_app(Settings(), MagicMock(), MagicMock(), MagicMock())
    text = "".join((DOCS / name).read_text(encoding="utf-8") for name in ("api.md", "rollout.md"))
    paths = {path for route in built.routes if getattr(route, "include_in_schema", False) and (path := route.path)}
    assert paths, "the API has no routes"
    assert (
        sorted(path for path in paths if f"`{path}`" not in re.sub(r"`(GET|POST|PUT|DELETE|PATCH) ", "`", text)) == []
    )
