"""One CLI process, and its answers in sequence."""
