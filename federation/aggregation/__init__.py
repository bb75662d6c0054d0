"""How the updates of many devices become one: one algorithm a file, pure functions on arrays."""
