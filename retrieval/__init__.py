"""Catalogue, encoder, index, linking and search."""
