"""What an operator reads: health, metrics, usage, the dashboard."""
