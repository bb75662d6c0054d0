"""What Sotto is measured by: each module is a command of its own, `python -m benchmarks.NAME`."""
