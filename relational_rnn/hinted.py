"""Cores that say what they work out, and hear it: training with hints.

A sum of long numbers is hard to learn from its digits alone: the last digit is a sum modulo 10 that
no single input tells anything about, and gradients reach it through all that was read since. Hints
teach it in parts. Where an operation ends, a linear map reads off the core's output what it takes
in (its operands, and facts such as which operation it is), and a small network, the same for every
place of a number, makes of these what the operation gives. What was said of the result goes into
the core with the inputs that follow, so that operations can use results of others. In training the
core hears the true result, but for the last one, so that the steps of a core need not wait for what
it says; in tests it hears itself.

Numbers are angles, one a place, as cosine and sine: in a sum angles add up, place by place. The
cosine of a sum is made of products, so the small network has units that are squared.

After the hints of Velickovic et al. 2022, "The CLRS Algorithmic Reasoning Benchmark", section 2,
https://arxiv.org/abs/2205.15659. This is not in Santoro et al. 2018.

Glossary of shapes:
  T: time; B: batch; D: input size; Y: output size of the core; N: operations; A: places of a
  number; M: operands of an operation; K: facts of an operation.
"""

from typing import NamedTuple

import chex
import haiku as hk
import jax
import jax.numpy as jnp

from relational_rnn import unrolling

_LIMIT = 1.5  # of what is heard: above what cosines are, so that a wild reading does no harm


class Said(NamedTuple):
    """What is read off a core's output."""

    operands: chex.Array  # [..., M, A, 2]
    facts: chex.Array  # [..., K]
    result: chex.Array  # [..., A, 2]


class State(NamedTuple):
    """The state of a core that hears itself."""

    core: chex.ArrayTree  # of the core inside
    heard: chex.Array  # [B, 2 A], the last result


class Reader(hk.Module):
    """Reads operands and facts off outputs, linearly, and makes the result of them."""

    def __init__(
        self,
        num_places: int,
        num_operands: int,
        num_facts: int,
        hidden_sizes: tuple[int, ...] = (64, 64),
        name: str | None = None,
    ):
        """Makes a reader.

        Args:
          num_places: A.
          num_operands: M.
          num_facts: K.
          hidden_sizes: units of the layers that make the result, the same for every place. Each
            layer hands on its units, those above zero, and their squares.
          name: the module's name.

        Raises:
          ValueError: for a number below 1.
        """
        super().__init__(name=name)
        if min(num_places, num_operands, num_facts) < 1:
            raise ValueError(
                'num_places, num_operands and num_facts are at least 1, got '
                f'{num_places}, {num_operands} and {num_facts}.'
            )
        self.num_places = num_places
        self._shape = num_operands, num_places, 2
        self._operands = hk.Linear(2 * num_operands * num_places, name='operands')
        self._facts = hk.Linear(num_facts, name='facts')
        self._hidden = [hk.Linear(size, name=f'hidden_{i}') for i, size in enumerate(hidden_sizes)]
        self._result = hk.Linear(2, name='result')

    def __call__(self, output: chex.Array) -> Said:
        """Returns what is said of outputs [..., Y]."""
        operands = self._operands(output).reshape(*output.shape[:-1], *self._shape)
        facts = self._facts(output)
        places = jnp.moveaxis(operands, -2, -3)
        places = places.reshape(*places.shape[:-2], -1)  # [..., A, 2 M]
        everywhere = jnp.broadcast_to(facts[..., None, :], (*places.shape[:-1], facts.shape[-1]))
        units = jnp.concatenate([places, everywhere], axis=-1)
        for layer in self._hidden:
            made = layer(units)
            units = jnp.concatenate([made, jax.nn.relu(made), jnp.square(made)], axis=-1)
        return Said(operands, facts, self._result(units))


class HearingCore(hk.RNNCore):
    """A core that hears a result that never changes: its state's, see `State`.

    Takes inputs [B, D] and returns outputs [B, Y + 2 A], the core's and what is heard.
    """

    def __init__(self, core: hk.RNNCore, num_places: int, name: str | None = None):
        """Makes a core of one that takes inputs [B, D + 2 A]."""
        super().__init__(name=name)
        self._core = core
        self._num_places = num_places

    def initial_state(self, batch_size: int | None) -> State:
        """Returns the state in which nothing was heard yet."""
        rows = () if batch_size is None else (batch_size,)
        heard = jnp.zeros((*rows, 2 * self._num_places))
        return State(self._core.initial_state(batch_size), heard)

    def __call__(self, inputs: chex.Array, state: State) -> tuple[chex.Array, State]:
        """Returns the output and the next state."""
        seen = jnp.concatenate([inputs, state.heard], axis=-1)
        output, inside = self._core(seen, state.core)
        return jnp.concatenate([output, state.heard], axis=-1), State(inside, state.heard)


class _SelfHearingCore(HearingCore):
    """A core that hears what is read off its own output, from the end of an operation on.

    Takes inputs [B, D], whether an operation ends there, [B], and whether its result is given, [B],
    and returns the core's outputs [B, Y].
    """

    def __init__(self, core: hk.RNNCore, reader: Reader):
        super().__init__(core, reader.num_places)
        self._reader = reader

    def __call__(self, inputs: tuple, state: State) -> tuple[chex.Array, State]:
        new, ends, given = inputs
        seen = jnp.concatenate([new, state.heard], axis=-1)
        output, inside = self._core(seen, state.core)
        said = _flat(self._reader(output).result) * given[:, None]
        return output, State(inside, jnp.where(ends[:, None], said, state.heard))


def listen(
    core: hk.RNNCore,
    reader: Reader,
    inputs: chex.Array,
    lengths: chex.Array,
    steps: chex.Array,
    present: chex.Array,
    given: chex.Array,
    told: chex.Array | None = None,
) -> tuple[Said, State]:
    """Reads sequences with a core that hears the results of operations.

    Args:
      core: takes inputs [B, D + 2 A].
      reader: reads it.
      inputs: [T, B, D].
      lengths: [B] whole numbers, of the sequences.
      steps: [N, B] whole numbers, the step at which each operation ends, in growing order.
      present: [N, B], 0 where there is no operation.
      given: [N, B], 0 for operations whose result nobody tells: zeros are heard in its place.
      told: [N, B, A, 2], what is heard of the results that others follow; None to hear what the
        reader says.

    Returns:
      What was said where operations end, leading axes [N, B], and the state after the last step of
      each row. What was said last is heard from then on; no gradient goes through it.
    """
    hearing = _SelfHearingCore(core, reader)
    start = hearing.initial_state(inputs.shape[1])
    if told is None:
        now = jnp.arange(inputs.shape[0])[:, None, None]
        ends = (now == steps) & (present > 0)  # [T, N, B]
        marked = inputs, jnp.any(ends, axis=1), jnp.sum(ends * given, axis=1)
        outputs, (inside, _) = unrolling.unroll(hearing, marked, start, lengths=lengths)
    else:
        results = heard(told, steps, present, given, inputs.shape[0])
        sequence = jnp.concatenate([inputs, results], axis=-1)
        outputs, inside = unrolling.unroll(core, sequence, start.core, lengths=lengths)
    said = reader(jnp.take_along_axis(outputs, steps[..., None], axis=0))
    last = heard(said.result, steps, present, given, inputs.shape[0] + 1)[-1]
    return said, State(inside, last)


def heard(
    results: chex.Array,
    steps: chex.Array,
    present: chex.Array,
    given: chex.Array,
    num_steps: int,
) -> chex.Array:
    """Returns what is heard of results in every step: that of the last operation that has ended.

    Args:
      results: [N, B, A, 2].
      steps: [N, B], as for `listen`.
      present: [N, B], as for `listen`.
      given: [N, B], as for `listen`.
      num_steps: T.

    Returns:
      [T, B, 2 A], zeros before the first result; no gradient goes through it.
    """
    now = jnp.arange(num_steps)[:, None, None]
    found = jnp.zeros((num_steps, results.shape[1], 2 * results.shape[2]))
    told = _flat(results) * given[..., None]
    for result, step, there in zip(told, steps, present, strict=True):
        found = jnp.where((now > step[:, None]) & (there[:, None] > 0), result, found)
    return found


def _flat(results: chex.Array) -> chex.Array:
    """Returns results [..., A, 2] as they are heard, [..., 2 A]."""
    clipped = jnp.clip(jax.lax.stop_gradient(results), -_LIMIT, _LIMIT)
    return clipped.reshape(*clipped.shape[:-2], -1)


def loss(
    said: Said, told: Said, taken: chex.Array, present: chex.Array, given: chex.Array
) -> chex.Array:
    """Returns the squared error of what was said, summed over operations and rows.

    Args:
      said: what was read where operations end, leading axes [N, B].
      told: what is true, of the same shapes.
      taken: [N, B, M], 0 for operands that an operation does not have.
      present: [N, B], 0 where there is no operation.
      given: [N, B], 0 for operations whose result is not asked for.

    Returns:
      []: for every operation the mean over places of the squared distance of the angle's point,
      added up over operands and result, and the squares of the facts' errors.
    """
    distances = [
        jnp.mean(jnp.sum(jnp.square(ours - true), axis=-1), axis=-1)
        for ours, true in ((said.operands, told.operands), (said.result, told.result))
    ]
    facts = jnp.sum(jnp.square(said.facts - told.facts), axis=-1)
    each = jnp.sum(distances[0] * taken, axis=-1) + distances[1] * given + facts
    return jnp.sum(each * present)
