"""What is spoken with the CLI: lines, records, control requests, failures."""
