"""The migrations, the oldest first: rNNNN_what.py."""
