"""The operator's routes: health, metrics, usage, the dashboard."""
