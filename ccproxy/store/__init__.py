"""What is kept: responses and conversations. Knows neither HTTP nor the CLI."""
