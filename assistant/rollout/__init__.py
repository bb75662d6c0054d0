"""Takes a release from the registry into live traffic and back: gate, canary, promote, roll back, reconcile."""
