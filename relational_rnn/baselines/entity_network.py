"""A recurrent entity network: a bank of LSTM cells with shared weights, keys of their own, gates.

Santoro et al. 2018, "Relational recurrent neural networks", appendix A.2,
https://arxiv.org/abs/1806.01822, compare with an "EntNet", a bank of LSTMs whose states are summed
for the output. They give no equations. Those here put an LSTM in the place of the dynamic memory's
own update in Henaff et al. 2017, "Tracking the world state with recurrent entity networks", section
2.2, https://arxiv.org/abs/1612.03969:

  s    = W x + b                              the encoded input
  g_j  = sigmoid(s . h_j + s . w_j)           cell j's gate, by content and by key
  h~_j, c~_j = LSTM([s, w_j], (h_j, c_j))     with the same weights for all cells
  h_j <- h_j + g_j (h~_j - h_j),  and c_j likewise;  output: the sum of all h_j

The keys w_j are learned; without them cells that start alike and share their weights would stay
alike. A gate moves a cell's state towards the LSTM's instead of adding to it, so that a shut gate
leaves it as it was; Henaff et al. normalise h_j to forget, which an LSTM does by itself.

Glossary of shapes:
  B: batch; ...: B, or nothing; D: input size; K: memory cells; h: units of a cell.
"""

from typing import NamedTuple

import haiku as hk
import jax
import jax.numpy as jnp

from relational_rnn import checks


class EntityState(NamedTuple):
    """The state of the cells; all zeros before the first step."""

    hidden: jax.Array  # [..., K, h], between -1 and 1
    cell: jax.Array  # [..., K, h]


class EntityNetwork(hk.RNNCore):
    """Memory cells that share an LSTM and differ by learned keys.

    Takes inputs `[B, D]` and an `EntityState`, or the same without B; returns outputs `[B, h]` and
    the next state, which is float32 at least. For linear maps in bfloat16 set a jmp policy
    (`hk.mixed_precision`) for `hk.Linear`; all else stays in float32.
    """

    def __init__(self, num_cells: int, cell_size: int, name: str | None = None):
        """Makes a core.

        Args:
          num_cells: K.
          cell_size: h.
          name: the module's name.

        Raises:
          ValueError: for a count below 1.
        """
        super().__init__(name=name)
        checks.check_counts(num_cells=num_cells, cell_size=cell_size)
        self._shape = num_cells, cell_size
        self._encoder = hk.Linear(cell_size, name='input')
        # The LSTM's map of [s, w_j, h_j] in three parts, for s and w_j are mapped once for all.
        init = hk.initializers.TruncatedNormal((3 * cell_size) ** -0.5)
        self._from_input = hk.Linear(4 * cell_size, w_init=init, name='lstm_input')
        self._from_keys = hk.Linear(4 * cell_size, False, w_init=init, name='lstm_keys')
        self._from_hidden = hk.Linear(4 * cell_size, False, w_init=init, name='lstm_hidden')

    def __call__(self, inputs: jax.Array, state: EntityState) -> tuple[jax.Array, EntityState]:
        """Runs one step.

        Args:
          inputs: [B, D]; without B if the state has none.
          state: the state before the step.

        Returns:
          The output [B, h] or [h], and the next state.

        Raises:
          ValueError: if the shapes or dtypes of inputs and state do not fit.
        """
        checks.check_inputs(inputs, checks.check_state(state, EntityState, *[self._shape] * 2))
        checks.check_floating('the state is', *state)
        inputs = inputs.astype(jnp.promote_types(inputs.dtype, jnp.float32))
        encoded, keys = self._encoder(inputs), self._keys(inputs.dtype)
        parts = self._from_input(encoded), self._from_keys(keys), self._from_hidden(state.hidden)
        open_gates = gates(encoded, keys, state.hidden)
        after = move(open_gates, candidates(*parts, state.cell), state)
        after = jax.tree.map(lambda new, old: new.astype(old.dtype), after, state)
        return jnp.sum(after.hidden, axis=-2), after

    def initial_state(self, batch_size: int | None) -> EntityState:
        """Returns a state of zeros; without B if `batch_size` is None."""
        batch = () if batch_size is None else (batch_size,)
        zeros = jnp.zeros((*batch, *self._shape))
        return EntityState(zeros, zeros)

    def _keys(self, dtype: jnp.dtype) -> jax.Array:
        """The keys, [K, h], of a length of about 1."""
        init = hk.initializers.TruncatedNormal(self._shape[1] ** -0.5)
        return hk.get_parameter('keys', self._shape, dtype, init=init)


def gates(encoded: jax.Array, keys: jax.Array, hidden: jax.Array) -> jax.Array:
    """Returns the gate of each cell, by its content and by its key.

    Args:
      encoded: s, [..., h].
      keys: [K, h].
      hidden: [..., K, h].

    Returns:
      g, [..., K], from 0 to 1.
    """
    content = jnp.einsum('...h,...kh->...k', encoded, hidden)
    return jax.nn.sigmoid(content + jnp.einsum('...h,kh->...k', encoded, keys))


def candidates(
    from_input: jax.Array, from_keys: jax.Array, from_hidden: jax.Array, cell: jax.Array
) -> EntityState:
    """Returns the next state of each cell by an LSTM, its gates in Haiku's order.

    Args:
      from_input: the input's share of input gate, candidate, forget and output gate, [..., 4 h].
      from_keys: the keys' share, [K, 4 h].
      from_hidden: the share of the cells' own outputs, [..., K, 4 h].
      cell: [..., K, h].

    Returns:
      The state [..., K, h]; as in Haiku and in Sonnet, the forget gate has a bias of 1.
    """
    shape = from_hidden.shape
    shared = jnp.broadcast_to(jnp.expand_dims(from_input, -2), shape)
    joint = shared + jnp.broadcast_to(from_keys, shape) + from_hidden
    in_gate, candidate, forget_gate, out_gate = jnp.split(joint, 4, axis=-1)
    kept = jax.nn.sigmoid(forget_gate + 1) * cell
    cell = kept + jax.nn.sigmoid(in_gate) * jnp.tanh(candidate)
    return EntityState(jax.nn.sigmoid(out_gate) * jnp.tanh(cell), cell)


def move(open_gates: jax.Array, candidate: EntityState, state: EntityState) -> EntityState:
    """Moves a state towards a candidate, as far as the gates [..., K] of its cells are open."""
    share = jnp.expand_dims(open_gates, -1)
    return jax.tree.map(lambda new, old: old + share * (new - old), candidate, state)
