"""A response from its preparation to its deletion: run, stored and sent again."""
