"""The output of a response: encodes answers as items, events and documents."""
