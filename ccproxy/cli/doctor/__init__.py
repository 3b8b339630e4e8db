"""``ccproxy doctor``: what a server would meet here, a verdict a line."""
