"""Federated rounds over Flower: thin carriers around a coordinator that knows none of them."""
