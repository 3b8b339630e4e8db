"""The input of a response: decodes requests, items and tools."""
