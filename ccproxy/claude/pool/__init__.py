"""Hands out CLI processes to requests."""
