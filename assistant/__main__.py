"""Makes ``python -m assistant`` the same as ``sotto``."""

from assistant.cli.main import app

app(prog_name="sotto")
