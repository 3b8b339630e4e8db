"""``ccproxy usage``: used tokens, costs and rate limits."""
