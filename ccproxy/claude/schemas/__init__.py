"""JSON Schemas of clients, compiled and checked in helper processes."""
