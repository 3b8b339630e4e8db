"""The command ``ccproxy conformance``."""
