"""The server's own state in a database: keys and rate windows; nothing of any conversation."""
