"""The protocol of the CLI: lines, records, control requests, failures."""
