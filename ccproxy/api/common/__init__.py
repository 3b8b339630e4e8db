"""Decoders and tables that several APIs use."""
