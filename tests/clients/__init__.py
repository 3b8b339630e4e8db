"""Other programs as clients, configured as the pages of docs/clients say."""
