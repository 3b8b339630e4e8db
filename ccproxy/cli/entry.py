"""The entry point of the program ``ccproxy``: Ctrl-C never prints a traceback.

Only the function `main` imports the rest of the program. The imports take most of the
time of the start, and Ctrl-C during the imports must be handled, too.
"""

import os
import signal
import sys

_INTERRUPTED = 130  # the status that shells report for SIGINT


def main() -> None:
    """Run the program with the arguments of ``sys.argv``."""
    # Programs that a shell script starts with `&` ignore SIGINT; they keep doing so.
    is_handled = signal.getsignal(signal.SIGINT) is signal.default_int_handler
    if is_handled:
        # An exception could be caught, or be printed, by a module that is imported.
        signal.signal(signal.SIGINT, lambda *_: os._exit(_INTERRUPTED))
    from ccproxy.cli.commands import load

    run = load(sys.argv)
    if is_handled:
        # Twisted handles SIGINT only in place of this default handler.
        signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        run()
    except KeyboardInterrupt:
        sys.exit(_INTERRUPTED)
