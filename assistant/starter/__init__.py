"""The bundled base model and the recipe that trains it."""
