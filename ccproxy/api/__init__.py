"""The APIs that clients speak: their wire formats and their routes."""
