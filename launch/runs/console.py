"""What a program prints for its user apart from results."""

import sys


def warn(line: str) -> None:
    """Prints one line on stderr."""
    print(line, file=sys.stderr, flush=True)
