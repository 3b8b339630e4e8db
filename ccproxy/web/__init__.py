"""HTTP: routes, keys, limits, error documents, event streams, embedding."""
