"""``ccproxy doctor``: checks whether a server would work on this machine."""
