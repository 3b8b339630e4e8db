"""Counts the tokens of a request without a call of the model."""
