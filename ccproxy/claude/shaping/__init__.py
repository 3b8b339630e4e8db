"""Shapers: filter an answer's events, and may request a second answer. Pure."""
