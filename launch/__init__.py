"""Programs, each run with `python -m launch.NAME`, and in folders what programs share."""

import importlib.util
import pathlib
import sys


def in_the_way(name: str) -> str:
    """Returns the file or folder that is imported in place of a package that lies next to this one.

    `python -m` looks into the working directory first, so a `tasks.py` there, as invoke and Celery
    want it, hides the package `tasks`.

    Args:
      name: of the package.

    Returns:
      Its path, '' if the right package is imported, or none is there.
    """
    spec = importlib.util.find_spec(name)
    if spec is None:
        return ''
    places = [spec.origin or '', *(spec.submodule_search_locations or [])]
    wanted = pathlib.Path(__file__).resolve().parent.with_name(name)
    found = [pathlib.Path(place).resolve() for place in places if place]
    return '' if wanted in found or wanted / '__init__.py' in found else str(found[0])


def _check(name: str) -> None:
    """Ends a program that is started in one line, and any other import in an ImportError."""
    path = in_the_way(name)
    if not path:
        return
    line = (
        f'{path} is in the way: wanted the package {name} of this project; start the program in '
        'another folder or with `python -P -m`, or rename what is in the way'
    )
    if sys.argv[:1] == ['-m']:
        print(f'launch: {line}', file=sys.stderr)
        sys.exit(2)  # errors.USAGE
    raise ImportError(line)


_check('tasks')
_check('relational_rnn')

_PROGRAMS = [word for word in sys.orig_argv if word.startswith(f'{__name__}.')]
if sys.argv[:1] == ['-m'] and _PROGRAMS:  # Python looks for the program that it is about to run
    from launch.runs import starting

    starting.prepare(_PROGRAMS[0].removeprefix(f'{__name__}.'))
