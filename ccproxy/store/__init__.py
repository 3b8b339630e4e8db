"""Stored responses, conversations, usage and answers. No HTTP, no CLI."""
