"""Programs, each run with `python -m launch.NAME`, and in folders what programs share."""

import sys

_PROGRAMS = [word for word in sys.orig_argv if word.startswith(f'{__name__}.')]
if sys.argv[:1] == ['-m'] and _PROGRAMS:  # Python looks for the program that it is about to run
    from launch.runs import starting

    starting.prepare(_PROGRAMS[0].removeprefix(f'{__name__}.'))
