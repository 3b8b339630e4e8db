"""One CLI process and the turns that it answers."""
