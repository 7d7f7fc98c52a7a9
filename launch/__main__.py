"""Lists the programs: `python -m launch`."""

import ast
import pathlib
import sys

from launch.runs import errors

_FOLDER = pathlib.Path(__file__).parent


def programs() -> dict[str, str]:
    """Returns the first line of every program's docstring, by the program's name."""
    paths = sorted(_FOLDER.glob('[!_]*.py'))
    pages = {path.stem: ast.get_docstring(ast.parse(path.read_bytes())) for path in paths}
    return {name: (page or '').partition('\n')[0] for name, page in pages.items()}


def main(words: list[str]) -> int:
    """Prints the programs, or versions, and returns the exit code.

    Args:
      words: the command line: nothing, `--help` or `--version`.
    """
    known = programs()
    if words == ['--version']:
        from launch.runs import versions  # takes a second, which the list does not need

        print(versions.describe())
    elif words in ([], ['-h'], ['--help']):
        width = max(map(len, known))
        print('Programs; each lists its flags with --help:\n')
        print('\n'.join(f'  python -m launch.{name:{width}}  {known[name]}' for name in known))
    else:
        wanted = f'a dot: `python -m launch.{words[0]}`' if words[0] in known else '--help or none'
        got = ' '.join(['python -m launch', *words])
        print(f'launch: wanted {wanted}, got `{errors.shorten(got)}`', file=sys.stderr)
        return errors.USAGE
    return 0


if __name__ == '__main__':
    errors.leave(main(sys.argv[1:]))
