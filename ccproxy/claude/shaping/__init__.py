"""Shapers: they filter an answer's events and may have the model asked again. Pure."""
