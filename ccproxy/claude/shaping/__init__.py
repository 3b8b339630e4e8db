"""What of an answer the client is told, and what becomes of its end. Pure."""
