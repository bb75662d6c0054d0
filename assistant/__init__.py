"""The server: dialogue, engine, API, page and command line."""
