"""One request from its preparation to the end of its answer."""
