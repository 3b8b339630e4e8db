"""One CLI process and its answers, one after the other."""
