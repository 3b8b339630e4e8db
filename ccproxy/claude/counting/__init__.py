"""Counts the tokens of a request without calling the model."""
