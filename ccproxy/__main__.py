"""``python -m ccproxy`` is the program ``ccproxy``."""

from ccproxy.cli.entry import main

main()
