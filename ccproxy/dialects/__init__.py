"""Wire formats: requests to prompts, events to documents and streams. Pure."""
