"""Which versions run: what every program's `--version` prints, and the record of a run keeps."""

import importlib.metadata
import platform

import relational_rnn

_DISTRIBUTIONS = 'jax', 'jaxlib', 'numpy', 'dm-haiku', 'optax'


def installed() -> dict[str, str]:
    """Returns the versions of this project, of Python and of what numbers depend on."""
    own = {'relational_rnn': relational_rnn.__version__, 'python': platform.python_version()}
    return own | {name: importlib.metadata.version(name) for name in _DISTRIBUTIONS}


def describe() -> str:
    """Returns the version of this project, of JAX and of Python, in one line."""
    known = installed()
    own, jax, python = (known[name] for name in ('relational_rnn', 'jax', 'python'))
    return f'relational_rnn {own}, jax {jax}, Python {python}'
