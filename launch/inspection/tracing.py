"""A trained core, the sequences it is given, and what happens inside it.

`lm`, `nth_farthest`, `learning_to_execute` and `agents` of this folder rebuild the network of a run
and describe sequences in the terms of its task; page and figure are the same for all of them.

Glossary of shapes:
  T: steps of a sequence; K: vectors of an input; D: input size; L: blocks; H: heads; N: slots;
  F: slot size; R: queries; G: size of a gate, F or 1; V: possible answers; H, W: of a picture.
"""

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import haiku as hk
import jax
import jax.numpy as jnp
import numpy as np

import relational_rnn
from relational_rnn import unrolling
from relational_rnn.networks import precision

NUM_ANSWERS = 5  # shown at every step


class Request(NamedTuple):
    """The flags of `launch.attention` for the choice of sequences."""

    run_dir: str  # of a run with a checkpoint
    num_examples: int  # at least 1
    max_steps: int  # the longest sequence, at least 1
    seed: int
    prompt: str  # '' if the program chooses the text; programs without text refuse others


class Answer(NamedTuple):
    """An answer that a network considers possible."""

    text: str
    probability: float


class Step(NamedTuple):
    """One step of a sequence in the terms of its task."""

    label: str  # the input, as short as an axis label: a word, a character, 'vector 3'
    note: str = ''  # the input at length, 'vector 3; the question: n = 2, m = 5'
    mark: str = ''  # why this step is marked, 'm is shown'; '' if it is not
    answers: tuple[Answer, ...] = ()  # after this step, likeliest first
    truth: str = ''  # the right answer as its text in answers; '' if there is none
    value: float | None = None  # the return that an agent expects; then the label is its action


class Example(NamedTuple):
    """One sequence; the core starts from its initial state."""

    title: str  # in the list of examples
    inputs: np.ndarray  # [T, D] or [T, K, D] float32, of the core
    steps: tuple[Step, ...]  # T of them
    points: np.ndarray | None = None  # [T, 1 or 2] in [-1, 1], where there is a point to each step
    pictures: np.ndarray | None = None  # [T, H, W, 3] uint8, of the world at each step


class Subject(NamedTuple):
    """A trained core and its sequences."""

    title: str  # 'Language model on pydoc, after 1,200 updates'
    make_core: Callable[[], hk.RNNCore]  # inside `hk.transform`
    params: Mapping[str, Any]  # the network's; of the core where make_core creates it
    examples: tuple[Example, ...]  # of lengths that may differ
    dtype: str = 'float32'  # of the core's matrix products
    about: str = ''  # what the task is, for those who do not know it
    answers: str = 'Answers of the model'  # the title above them
    inputs: tuple[str, ...] = ()  # names of the K vectors of an input; () to number them
    input_columns: int = 0  # of the grid that these vectors make row by row; 0 if they make none


class Trace(NamedTuple):
    """What happened inside the core during one example, as NumPy arrays."""

    attention: tuple[np.ndarray, ...]  # [T, H, R, N + K] of each of L blocks
    before: np.ndarray  # [T, N, F], the memory before each step
    memory: np.ndarray  # [T, N, F], the memory after each step
    gates: dict[str, np.ndarray]  # [T, N, G] by name: input, forget, output; those it has


def trace(subject: Subject) -> list[Trace]:
    """Runs the core over every example and returns what happened inside.

    Raises:
      ValueError: the core is no `RelationalMemory`, or its parameters do not fit the inputs.
    """

    def run(inputs: jax.Array) -> unrolling.Inside:
        core = subject.make_core()
        with precision.multiplying_in(jnp.dtype(subject.dtype)):
            return relational_rnn.unroll_inside(core, inputs, core.initial_state(None))[2]

    network = hk.transform(run)
    apply = jax.jit(lambda inputs: network.apply(subject.params, None, inputs))
    traces = []
    for example in subject.examples:
        inside = jax.device_get(apply(example.inputs))
        gates = dict(zip(('input', 'forget', 'output'), inside[3:], strict=True))
        present = {name: gate for name, gate in gates.items() if gate is not None}
        traces.append(Trace(inside.attention, inside.before, inside.memory, present))
    return traces


def rank_answers(
    probabilities: np.ndarray, show: Callable[[int], str], truth: int | None = None
) -> tuple[Answer, ...]:
    """Returns the likeliest answers, then the true one if it is not among them.

    Args:
      probabilities: [V].
      show: returns the text of an answer.
      truth: the true one, if there is one.
    """
    likeliest = np.argsort(-probabilities, kind='stable')[:NUM_ANSWERS].tolist()
    if truth is not None and truth not in likeliest:
        likeliest.append(truth)
    return tuple(Answer(show(i), float(probabilities[i])) for i in likeliest)
