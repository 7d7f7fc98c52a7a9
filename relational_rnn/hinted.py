"""Cores that say what they work out, and hear it: training with hints.

A sum of long numbers is hard to learn from its digits alone: the last digit is a sum modulo 10 that
no single input tells anything about, and gradients reach it through all that was read since. Hints
teach it in parts. Where an operation ends, linear maps read off the core's output what it takes in:
its operands, and facts such as which operation it is. What it gives, a small network makes of
these, the same for every place of a number. The result is written to registers, which go into the
core with the inputs that follow, so that operations can use results of others.

In training the small network gets the true operands and facts and the core hears the true results,
so that the steps of a core need not wait for what it says; in tests there is nothing true to be
had, and all is what was read. Readings are taken as the nearest number and the likeliest fact, so
that errors do not add up from operation to operation.

Numbers are angles, one a place, as cosine and sine: in a sum angles add up, place by place, and k
times a number has k times its angles. So the small network gets the powers of the angles' points
in the complex plane, and, as the cosine of a sum is made of products, has units that are squared.

After the hints of Velickovic et al. 2022, "The CLRS Algorithmic Reasoning Benchmark", section 2,
https://arxiv.org/abs/2205.15659. This is not in Santoro et al. 2018.

Glossary of shapes:
  T: time; B: batch; D: input size; Y: output size of the core; N: operations; A: places of a
  number; M: operands of an operation; K: facts of an operation, one-hots side by side; R:
  registers; H: numbers that are heard, R x 2 A.
"""

from typing import NamedTuple

import chex
import haiku as hk
import jax
import jax.numpy as jnp
import numpy as np

from relational_rnn import unrolling

NUM_POWERS = 9  # a number may be added so many times in one operation


class Said(NamedTuple):
    """What is read off a core's output, and what is made of it."""

    operands: chex.Array  # [..., M, A, 2]
    facts: chex.Array  # [..., K]
    result: chex.Array  # [..., A, 2]


class State(NamedTuple):
    """The state of a core that hears itself."""

    core: chex.ArrayTree  # of the core inside
    heard: chex.Array  # [B, H], the last result in each register


class Reader(hk.Module):
    """Reads operands and facts off outputs, linearly, and makes results of operands and facts."""

    def __init__(
        self,
        num_places: int,
        num_operands: int,
        fact_sizes: tuple[int, ...],
        hidden_sizes: tuple[int, ...] = (64, 64),
        name: str | None = None,
    ):
        """Makes a reader.

        Args:
          num_places: A.
          num_operands: M.
          fact_sizes: what each fact can be, sizes of one-hots, K in all.
          hidden_sizes: units of the layers that make the result, the same for every place. Each
            layer hands on its units, those above zero, and their squares.
          name: the module's name.

        Raises:
          ValueError: for a number below 1, or no fact.
        """
        super().__init__(name=name)
        if min(num_places, num_operands, *fact_sizes, len(fact_sizes)) < 1:
            raise ValueError(
                'num_places, num_operands, fact_sizes and their number are at least 1, got '
                f'{num_places}, {num_operands} and {fact_sizes}.'
            )
        self.num_places = num_places
        self._fact_sizes = fact_sizes
        self._shape = num_operands, num_places, 2
        self._operands = hk.Linear(2 * num_operands * num_places, name='operands')
        self._facts = hk.Linear(sum(fact_sizes), name='facts')
        self._hidden = [hk.Linear(size, name=f'hidden_{i}') for i, size in enumerate(hidden_sizes)]
        self._result = hk.Linear(2, name='result')

    def read(self, output: chex.Array) -> tuple[chex.Array, chex.Array]:
        """Returns operands [..., M, A, 2] and facts [..., K] of outputs [..., Y]."""
        operands = self._operands(output).reshape(*output.shape[:-1], *self._shape)
        return operands, self._facts(output)

    def combine(self, operands: chex.Array, facts: chex.Array) -> chex.Array:
        """Returns the results [..., A, 2] of operands and facts."""
        places = jnp.moveaxis(_powers(operands), -3, -2)  # [..., A, M, any]
        places = places.reshape(*places.shape[:-2], -1)
        everywhere = jnp.broadcast_to(facts[..., None, :], (*places.shape[:-1], facts.shape[-1]))
        units = jnp.concatenate([places, everywhere], axis=-1)
        for layer in self._hidden:
            made = layer(units)
            units = jnp.concatenate([made, jax.nn.relu(made), jnp.square(made)], axis=-1)
        return self._result(units)

    def conclude(self, operands: chex.Array, facts: chex.Array) -> chex.Array:
        """Returns the results [..., A, 2] of readings, as angles of the nearest numbers."""
        operands, facts = jax.lax.stop_gradient((operands, facts))
        result = self.combine(nearest(operands), self._likeliest(facts))
        return nearest(jax.lax.stop_gradient(result))

    def _likeliest(self, facts: chex.Array) -> chex.Array:
        """Returns facts [..., K] as one-hots."""
        ends = np.cumsum(self._fact_sizes)[:-1]
        each = [
            jax.nn.one_hot(jnp.argmax(fact, axis=-1), fact.shape[-1])
            for fact in jnp.split(facts, ends, axis=-1)
        ]
        return jnp.concatenate(each, axis=-1)


def _powers(points: chex.Array) -> chex.Array:
    """Returns powers 1 ... `NUM_POWERS` of complex numbers: [..., 2] to [..., 2 NUM_POWERS]."""
    real, imaginary = points[..., 0], points[..., 1]
    found = [(real, imaginary)]
    for _ in range(NUM_POWERS - 1):
        a, b = found[-1]
        found.append((a * real - b * imaginary, a * imaginary + b * real))
    return jnp.stack([part for power in found for part in power], axis=-1)


def nearest(points: chex.Array) -> chex.Array:
    """Returns the angles of the number that given ones are closest to, from the units on.

    Args:
      points: [..., A, 2], the cosines and sines of 2 pi v / 10^k, k = 1 ... A, roughly: angles may
        be wrong by less than a twentieth of a turn, and radii are of no account.

    Returns:
      [..., A, 2], those of a whole number v, to the rounding of float32.
    """
    tenths = 10 * jnp.arctan2(points[..., 1], points[..., 0]) / (2 * jnp.pi)  # of a turn
    lower, angles = jnp.zeros(tenths.shape[:-1]), []
    for place in range(tenths.shape[-1]):
        digit = jnp.mod(jnp.round(tenths[..., place] - lower), 10)
        lower = (digit + lower) / 10  # of a turn
        angles.append(2 * jnp.pi * lower)
    exact = jnp.stack(angles, axis=-1)
    return jnp.stack([jnp.cos(exact), jnp.sin(exact)], axis=-1)


class HearingCore(hk.RNNCore):
    """A core that hears results that never change: its state's, see `State`.

    Takes inputs [B, D] and returns outputs [B, Y + H], the core's and what is heard.
    """

    def __init__(self, core: hk.RNNCore, heard_size: int, name: str | None = None):
        """Makes a core of one that takes inputs [B, D + H], H being `heard_size`."""
        super().__init__(name=name)
        self._core = core
        self._heard_size = heard_size

    def initial_state(self, batch_size: int | None) -> State:
        """Returns the state in which nothing was heard yet."""
        rows = () if batch_size is None else (batch_size,)
        heard = jnp.zeros((*rows, self._heard_size))
        return State(self._core.initial_state(batch_size), heard)

    def __call__(self, inputs: chex.Array, state: State) -> tuple[chex.Array, State]:
        """Returns the output and the next state."""
        seen = jnp.concatenate([inputs, state.heard], axis=-1)
        output, inside = self._core(seen, state.core)
        return jnp.concatenate([output, state.heard], axis=-1), State(inside, state.heard)


class _SelfHearingCore(HearingCore):
    """A core that hears what is concluded from its own output, from the end of an operation on.

    Takes inputs [B, D] and the registers that are written then, [B, R], and returns the core's
    outputs [B, Y].
    """

    def __init__(self, core: hk.RNNCore, reader: Reader, num_registers: int):
        super().__init__(core, num_registers * 2 * reader.num_places)
        self._reader = reader

    def __call__(self, inputs: tuple, state: State) -> tuple[chex.Array, State]:
        new, written = inputs
        seen = jnp.concatenate([new, state.heard], axis=-1)
        output, inside = self._core(seen, state.core)
        said = _flat(self._reader.conclude(*self._reader.read(output)))
        registers = state.heard.reshape(*written.shape, -1)
        registers = jnp.where(written[..., None], said[:, None], registers)
        return output, State(inside, registers.reshape(state.heard.shape))


def listen(
    core: hk.RNNCore,
    reader: Reader,
    inputs: chex.Array,
    lengths: chex.Array,
    steps: chex.Array,
    writes: chex.Array,
    told: Said | None = None,
) -> tuple[Said, State]:
    """Reads sequences with a core that hears the results of operations.

    Args:
      core: takes inputs [B, D + H].
      reader: reads it.
      inputs: [T, B, D].
      lengths: [B] whole numbers, of the sequences.
      steps: [N, B] whole numbers, the step at which each operation ends, in growing order.
      writes: [N, B, R], 1 for the registers that its result goes to; of an operation that there is
        not, all 0.
      told: what is true, leading axes [N, B]: results that others follow are heard, and operands
        and facts are what results are made of; None to go by what is read.

    Returns:
      What was said where operations end, leading axes [N, B], and the state after the last step of
      each row. What is concluded from the last reading is heard from then on, whatever was told; no
      gradient goes through it.
    """
    hearing = _SelfHearingCore(core, reader, writes.shape[-1])
    start = hearing.initial_state(inputs.shape[1])
    if told is None:
        now = jnp.arange(inputs.shape[0])[:, None, None]
        written = jnp.any((now == steps)[..., None] & (writes > 0), axis=1)  # [T, B, R]
        outputs, (inside, _) = unrolling.unroll(hearing, (inputs, written), start, lengths=lengths)
    else:
        results = heard(told.result, steps, writes, inputs.shape[0])
        sequence = jnp.concatenate([inputs, results], axis=-1)
        outputs, inside = unrolling.unroll(core, sequence, start.core, lengths=lengths)
    operands, facts = reader.read(jnp.take_along_axis(outputs, steps[..., None], axis=0))
    concluded = reader.conclude(operands, facts)
    made = concluded if told is None else reader.combine(told.operands, told.facts)
    last = heard(concluded, steps, writes, inputs.shape[0] + 1)[-1]
    return Said(operands, facts, made), State(inside, last)


def heard(results: chex.Array, steps: chex.Array, writes: chex.Array, num_steps: int) -> chex.Array:
    """Returns what is heard in every step: of each register the last result that was written.

    Args:
      results: [N, B, A, 2].
      steps: [N, B], as for `listen`.
      writes: [N, B, R], as for `listen`.
      num_steps: T.

    Returns:
      [T, B, H], zeros before the first result; no gradient goes through it.
    """
    now = jnp.arange(num_steps)[:, None, None, None]
    found = jnp.zeros((num_steps, *writes.shape[1:], 2 * results.shape[2]))
    for result, step, written in zip(_flat(results), steps, writes, strict=True):
        is_new = (now > step[:, None, None]) & (written[..., None] > 0)
        found = jnp.where(is_new, result[:, None], found)
    return found.reshape(*found.shape[:2], -1)


def _flat(results: chex.Array) -> chex.Array:
    """Returns results [..., A, 2] as they are heard, [..., 2 A]."""
    return jax.lax.stop_gradient(results).reshape(*results.shape[:-2], -1)


def loss(said: Said, told: Said, taken: chex.Array, writes: chex.Array) -> chex.Array:
    """Returns the squared error of what was said, summed over operations and rows.

    Args:
      said: what was read where operations end, leading axes [N, B].
      told: what is true, of the same shapes.
      taken: [N, B, M], 0 for operands that an operation does not have.
      writes: [N, B, R], as for `listen`.

    Returns:
      []: for every operation the mean over places of the squared distance of the angle's point,
      added up over operands and result, and the squares of the facts' errors.
    """
    operands, result = (
        jnp.mean(jnp.sum(jnp.square(ours - true), axis=-1), axis=-1)
        for ours, true in ((said.operands, told.operands), (said.result, told.result))
    )
    facts = jnp.sum(jnp.square(said.facts - told.facts), axis=-1)
    each = jnp.sum(operands * taken, axis=-1) + result + facts
    return jnp.sum(each * jnp.max(writes, axis=-1))
