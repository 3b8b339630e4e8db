"""``ccproxy usage``: what was used, and how much of the limits is."""
