"""Programs of others, configured as the pages of docs/clients say."""
