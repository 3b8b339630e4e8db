"""Makes the JSON that the CLI merges into its request to the provider. Pure."""
