"""One request on its way: a worker, deadlines, retries, its end."""
