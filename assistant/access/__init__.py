"""Who may ask for what, how often, and how many at once. Knows nothing of HTTP."""
