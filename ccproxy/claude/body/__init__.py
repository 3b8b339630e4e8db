"""From a Messages API request to the JSON that the CLI merges into its own. Pure."""
