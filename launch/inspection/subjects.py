"""What happens inside the Relational Memory Core of a run, whatever program trained it.

A program takes part with one file, `launch/inspection/of_PROGRAM.py`, that has one function:

  def inspect(request: subjects.Request) -> subjects.Subject

It rebuilds the network of the newest checkpoint, makes a few sequences, and says for every step in
the task's own terms what the core is shown and what the network answers. All else is here: the
core runs over these inputs with its trained parameters, and its attention, gates and memory come
out. The file is found by its name and imported only when a run of that program is looked at.

Glossary of shapes:
  T: steps of a sequence; K: rows of an input; D: input size; L: blocks; H: heads; N: slots.
  F: slot size; R: rows that ask a query; G: one gate's size, F or 1.
"""

from collections.abc import Callable, Mapping
import importlib
import pathlib
from typing import Any, NamedTuple

import haiku as hk
import jax
import jax.numpy as jnp
import numpy as np

from launch.runs import directory, errors
import relational_rnn
from relational_rnn import unrolling
from relational_rnn.networks import precision

_PREFIX = 'of_'


class Request(NamedTuple):
    """What is asked of a program's `inspect`."""

    run_dir: str  # of a run that has a checkpoint; this process owns it
    num_examples: int  # how many sequences, at least 1
    max_steps: int  # the longest that a sequence may be, at least 1
    seed: int
    prompt: str  # '' where the program chooses the text; programs without text refuse others


class Answer(NamedTuple):
    """One of the answers that a network holds for possible."""

    text: str
    probability: float


class Step(NamedTuple):
    """What a person is told about one step of a sequence, in the task's own terms."""

    label: str  # what is shown, as short as an axis label: a word, a character, 'vector 3'
    note: str = ''  # the same at length, 'vector 3; the question: n = 2, m = 5'
    mark: str = ''  # why this step is marked, 'm is shown'; '' for the ordinary step
    answers: tuple[Answer, ...] = ()  # after this step, likeliest first, some five of them
    truth: str = ''  # the right answer at this step as it would stand in answers; '' if none


class Example(NamedTuple):
    """One sequence; the core starts from its initial state."""

    title: str  # tells it apart from the others in a list
    inputs: np.ndarray  # [T, D] or [T, K, D] float32, what the core is given
    steps: tuple[Step, ...]  # T of them


class Subject(NamedTuple):
    """A trained core and the sequences it is shown."""

    title: str  # 'lm on pydoc, after 1,200 updates'
    make_core: Callable[[], hk.RNNCore]  # to be called inside `hk.transform`
    params: Mapping[str, Any]  # the network's, the core's among them where make_core makes it
    examples: tuple[Example, ...]  # of lengths that may differ
    dtype: str = 'float32'  # of the core's matrix products


class Look(NamedTuple):
    """What happened inside the core as it was shown one example, as NumPy arrays."""

    attention: tuple[np.ndarray, ...]  # of every block, [T, H, R, N + K]
    before: np.ndarray  # [T, N, F], the memory in which a step begins
    memory: np.ndarray  # [T, N, F], the memory in which it ends
    gates: dict[str, np.ndarray]  # [T, N, G] each, by name: input, forget, output; those it has


def open_run(request: Request) -> Subject:
    """Opens a run of any program and makes its examples.

    Args:
      request: what is asked; the caller owns the run's directory.

    Returns:
      The core and what it is shown.

    Raises:
      RunError, DataError: the run cannot be used: it has no checkpoint, another core than the RMC,
        or its program does not say how to look inside.
    """
    folder = pathlib.Path(request.run_dir)
    description = directory.read_description(folder)
    if not description:
        raise _bad_data(request, f'wanted a run with {directory.DESCRIPTION}, it has none')
    core = description['config'].get('core', 'rmc')
    if core != 'rmc':
        raise _bad_data(request, f'wanted a run with --core=rmc, which has a memory, got {core}')
    return _inspector(request, description['program'])(request)


def look_inside(subject: Subject) -> list[Look]:
    """Shows the core every example and returns what happened inside.

    Args:
      subject: the core, its parameters and the examples.

    Raises:
      ValueError: the core is no `RelationalMemory`, or its parameters do not fit the inputs.
    """

    def run(inputs: jax.Array) -> unrolling.Inside:
        core = subject.make_core()
        with precision.multiplying_in(jnp.dtype(subject.dtype)):
            return relational_rnn.unroll_inside(core, inputs, core.initial_state(None))[2]

    network = hk.transform(run)
    apply = jax.jit(lambda inputs: network.apply(subject.params, None, inputs))
    looks = []
    for example in subject.examples:
        inside = jax.device_get(apply(example.inputs))
        gates = {
            name: gate
            for name, gate in zip(('input', 'forget', 'output'), inside[3:], strict=True)
            if gate is not None
        }
        looks.append(Look(inside.attention, inside.before, inside.memory, gates))
    return looks


def programs() -> list[str]:
    """Names the programs whose runs can be looked at."""
    files = pathlib.Path(__file__).parent.glob(f'{_PREFIX}*.py')
    return sorted(path.stem.removeprefix(_PREFIX) for path in files)


def _inspector(request: Request, program: str) -> Callable[[Request], Subject]:
    """Returns the function `inspect` of a program."""
    known = programs()
    if program not in known:
        raise _bad_data(request, f'wanted a run of {" or ".join(known)}, got one of {program}')
    return importlib.import_module(f'launch.inspection.{_PREFIX}{program}').inspect


def _bad_data(request: Request, message: str) -> errors.RunError:
    return errors.RunError(errors.BAD_DATA, f'--run_dir={request.run_dir}: {message}')
