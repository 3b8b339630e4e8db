"""Values that all rooms share: the Messages API's request and answer. No I/O."""
