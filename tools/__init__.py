"""The project's own tools: set-up, the lock, generated documentation. Not part of the distribution."""
