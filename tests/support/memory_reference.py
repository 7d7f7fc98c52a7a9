"""The Relational Memory Core in float64 NumPy: loops over time, batch, block, head and slot.

Written from the description of Santoro et al. 2018, "Relational recurrent neural networks",
https://arxiv.org/abs/1806.01822, and of the authors' Sonnet 1 module; with `output_gate` from the
paper's equations 3 to 9. As in Sonnet every row asks, and what the input's rows got is dropped.

Glossary of shapes:
  T: time; B: batch; D: input size; K: rows of an input; N: memory slots; F: slot size.
  H: heads; C: key size; V: value size.
"""

from typing import NamedTuple

import jax.numpy as jnp
import numpy as np

from relational_rnn import memory, operations

T, B, D = 5, 3, 7


class Case(NamedTuple):
    """A core and the number of rows K of its inputs."""

    config: memory.MemoryConfig
    num_rows: int


# Every option at least twice; sizes of a case pairwise different wherever they can be.
CASES = {
    'unit_gates': Case(memory.MemoryConfig(4, 5, num_heads=2), 1),
    'one_slot_one_mlp_layer': Case(
        memory.MemoryConfig(1, 6, 2, forget_bias=0.5, input_bias=-0.25, attention_mlp_layers=1), 1
    ),
    'memory_gates_deep_mlp': Case(
        memory.MemoryConfig(5, 3, 2, gate_style='memory', attention_mlp_layers=4, key_size=8), 2
    ),
    'more_slots_than_features': Case(memory.MemoryConfig(9, 2, 2, forget_bias=-1.5, key_size=3), 1),
    'no_gates': Case(memory.MemoryConfig(4, 3, 3, gate_style=None, key_size=2), 1),
    'no_gates_three_blocks': Case(
        memory.MemoryConfig(6, 2, 4, num_blocks=3, gate_style=None, attention_mlp_layers=1), 3
    ),
    'two_blocks': Case(memory.MemoryConfig(3, 4, 2, num_blocks=2, key_size=5, input_bias=0.5), 2),
    'output_gate': Case(memory.MemoryConfig(4, 3, 2, forget_bias=0.25, output_gate=True), 2),
    'output_gate_memory_two_blocks': Case(
        memory.MemoryConfig(
            *(2, 5, 2, 2), input_bias=0.75, gate_style='memory', key_size=3, output_gate=True
        ),
        1,
    ),
}


class Run(NamedTuple):
    """What an unroll gives."""

    outputs: np.ndarray  # [T, B, N F]
    state: list[np.ndarray]  # [memory] or [hidden, memory], each [B, N, F]
    attention: list[np.ndarray]  # a block's weights, [T, B, H, N + K, N + K]


def parameters(case: Case, seed: int = 0) -> dict[str, np.ndarray]:
    """Returns random float64 parameters by the Haiku module's names; none is at its default."""
    config, random = case.config, np.random.default_rng(seed)
    size, joint = width(config), config.num_heads * (2 * key_size(config) + config.head_size)
    linears = {'input': (D, size)}
    norms = {}
    for i in range(config.num_blocks):
        linears[f'projection_{i}'] = (size, joint)
        norms |= {f'projection_norm_{i}': joint, f'attention_norm_{i}': size, f'mlp_norm_{i}': size}
    for i in range(config.attention_mlp_layers):
        linears[f'mlp_{i}'] = (size, size)
    if config.gate_style:
        gates = (3 if config.output_gate else 2) * (size if config.gate_style == 'unit' else 1)
        linears |= {'input_gates': (case.num_rows * size, gates), 'memory_gates': (size, gates)}
    params = {}
    for name, shape in linears.items():
        params[f'{name}_w'] = random.normal(size=shape) * 1.5 / shape[0] ** 0.5
        params[f'{name}_b'] = random.normal(size=shape[1]) * 0.5
    for name, length in norms.items():
        params[f'{name}_scale'] = 1 + random.normal(size=length) * 0.3
        params[f'{name}_offset'] = random.normal(size=length) * 0.3
    return params


def memory_params(
    config: memory.MemoryConfig, params: dict[str, np.ndarray]
) -> memory.MemoryParams:
    """Turns the reference's parameters into those of the pure functions, with the same dtype."""

    def linear(name: str) -> operations.Linear:
        return operations.Linear(jnp.asarray(params[f'{name}_w']), jnp.asarray(params[f'{name}_b']))

    def norm(name: str) -> operations.Norm:
        return operations.Norm(
            jnp.asarray(params[f'{name}_scale']), jnp.asarray(params[f'{name}_offset'])
        )

    blocks = tuple(
        memory.Block(
            linear(f'projection_{i}'),
            *(norm(f'{name}_norm_{i}') for name in ('projection', 'attention', 'mlp')),
        )
        for i in range(config.num_blocks)
    )
    mlp = tuple(linear(f'mlp_{i}') for i in range(config.attention_mlp_layers))
    input_gates, memory_gates = (
        linear(name) if config.gate_style else None for name in ('input_gates', 'memory_gates')
    )
    return memory.MemoryParams(
        linear('input'), input_gates, memory.StepParams(blocks, mlp, memory_gates)
    )


def inputs(case: Case, seed: int = 1) -> np.ndarray:
    """Returns random inputs in float64, [T, B, D], or [T, B, K, D] where K > 1."""
    rows = np.random.default_rng(seed).normal(size=(T, B, case.num_rows, D))
    return rows if case.num_rows > 1 else rows[:, :, 0]


def unroll(
    params: dict[str, np.ndarray],
    config: memory.MemoryConfig,
    sequence: np.ndarray,
    resets: np.ndarray | None = None,
    lengths: np.ndarray | None = None,
) -> Run:
    """Runs every row of a batch by itself, [T, B, D] or [T, B, K, D], step by step."""
    num_steps, batch = sequence.shape[:2]
    outputs = np.zeros((num_steps, batch, config.mem_slots * width(config)))
    attention, states = {}, []
    for b in range(batch):
        state = initial_state(config)
        for t in range(num_steps if lengths is None else lengths[b]):
            if resets is not None and resets[t, b]:
                state = initial_state(config)
            state, attention[t, b] = step(params, config, np.atleast_2d(sequence[t, b]), state)
            outputs[t, b] = state[0].flatten()
        states.append(state)
    weights = []
    for block in range(config.num_blocks):
        shape = (num_steps, batch, *attention[0, 0][block].shape)
        weights.append(np.zeros(shape))
        for (t, b), blocks in attention.items():
            weights[-1][t, b] = blocks[block]
    return Run(outputs, [np.stack(leaves) for leaves in zip(*states, strict=True)], weights)


def initial_state(config: memory.MemoryConfig) -> list[np.ndarray]:
    """Returns the state of one row: the identity, and with an output gate zeros before it."""
    identity = np.zeros((config.mem_slots, width(config)))
    for i in range(min(identity.shape)):
        identity[i, i] = 1.0
    return [np.zeros_like(identity), identity] if config.output_gate else [identity]


def step(
    params: dict[str, np.ndarray],
    config: memory.MemoryConfig,
    x: np.ndarray,
    state: list[np.ndarray],
) -> tuple[list[np.ndarray], list[np.ndarray]]:
    """One step of one row of a batch: input rows [K, D] and state to state and attention."""
    projected = [linear(params, 'input', row) for row in x]
    old = state[-1]
    rows, attention = list(old) + projected, []
    for block in range(config.num_blocks):
        attended, weights = attend(params, config, block, rows)
        attention.append(weights)
        for r in range(len(rows)):
            row = norm(params, f'attention_norm_{block}', rows[r] + attended[r])
            rows[r] = norm(params, f'mlp_norm_{block}', row + mlp(params, config, row))
    candidate = np.array(rows[: config.mem_slots])
    if config.gate_style is None:
        return [candidate], attention
    new_hidden, new = np.zeros_like(old), np.zeros_like(old)
    for i in range(config.mem_slots):
        seen = state[0][i] if config.output_gate else np.tanh(old[i])
        gates = linear(params, 'input_gates', np.concatenate(projected))
        gates = gates + linear(params, 'memory_gates', seen)
        gates = gates.reshape(3 if config.output_gate else 2, -1)
        written = candidate[i] if config.output_gate else np.tanh(candidate[i])
        new[i] = sigmoid(gates[0] + config.input_bias) * written
        new[i] += sigmoid(gates[1] + config.forget_bias) * old[i]
        if config.output_gate:
            new_hidden[i] = sigmoid(gates[2]) * np.tanh(new[i])
    return ([new_hidden, new] if config.output_gate else [new]), attention


def attend(
    params: dict[str, np.ndarray], config: memory.MemoryConfig, block: int, rows: list[np.ndarray]
) -> tuple[np.ndarray, np.ndarray]:
    """Every row attends to every row: attended values [rows, F], weights [H, rows, rows]."""
    size, value_size = key_size(config), config.head_size
    attended = np.zeros((len(rows), width(config)))
    weights = np.zeros((config.num_heads, len(rows), len(rows)))
    joint = []
    for row in rows:
        projection = linear(params, f'projection_{block}', row)
        projection = norm(params, f'projection_norm_{block}', projection)
        joint.append(projection.reshape(config.num_heads, 2 * size + value_size))
    for h in range(config.num_heads):
        for i in range(len(rows)):
            query = joint[i][h][:size] / np.sqrt(size)
            scores = np.array([query @ joint[j][h][size : 2 * size] for j in range(len(rows))])
            weights[h, i] = np.exp(scores) / np.exp(scores).sum()
            for j in range(len(rows)):
                value = weights[h, i, j] * joint[j][h][2 * size :]
                attended[i, h * value_size : (h + 1) * value_size] += value
    return attended, weights


def mlp(params: dict[str, np.ndarray], config: memory.MemoryConfig, row: np.ndarray) -> np.ndarray:
    """ReLU between the layers, none after the last."""
    for i in range(config.attention_mlp_layers):
        row = linear(params, f'mlp_{i}', np.maximum(row, 0) if i > 0 else row)
    return row


def linear(params: dict[str, np.ndarray], name: str, vector: np.ndarray) -> np.ndarray:
    return vector @ params[f'{name}_w'] + params[f'{name}_b']


def norm(params: dict[str, np.ndarray], name: str, vector: np.ndarray) -> np.ndarray:
    centered = vector - vector.mean()
    scaled = centered / np.sqrt((centered**2).mean() + 1e-5)
    return scaled * params[f'{name}_scale'] + params[f'{name}_offset']


def sigmoid(x: np.ndarray) -> np.ndarray:
    return 1 / (1 + np.exp(-x))


def width(config: memory.MemoryConfig) -> int:
    """F, the width of a slot."""
    return config.num_heads * config.head_size


def key_size(config: memory.MemoryConfig) -> int:
    """C: `key_size`, and `head_size` where that is None."""
    return config.head_size if config.key_size is None else config.key_size
