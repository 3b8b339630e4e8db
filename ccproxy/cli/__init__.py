"""The program ``ccproxy``."""
