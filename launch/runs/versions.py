"""Which versions run: what every program's `--version` prints, and a report of a defect needs."""

import platform

import jax

import relational_rnn


def describe() -> str:
    """Returns the version of this project, of JAX and of Python, in one line."""
    python = f'Python {platform.python_version()}'
    return f'relational_rnn {relational_rnn.__version__}, jax {jax.__version__}, {python}'
