"""Settings: declared once, read from flags and variables."""
