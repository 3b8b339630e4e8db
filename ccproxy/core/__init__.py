"""Values that all packages share: the Messages API's request and events. No I/O."""
