"""``ccproxy completion``: scripts with which shells complete the command line."""
