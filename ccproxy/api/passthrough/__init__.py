"""Routes for which Claude has no model: they forward requests to another server."""
