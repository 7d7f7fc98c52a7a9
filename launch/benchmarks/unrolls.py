"""How long the Relational Memory Core takes, beside other methods and a lower bound.

Every shape is run as a forward pass (the loss) and as a training step (loss and gradient of all
parameters), by four methods that take turns, so that noise hits all alike:
  unroll: `relational_rnn.unroll` of a `RelationalMemory`;
  dynamic_unroll: the same core in `hk.dynamic_unroll`;
  lstm: `hk.LSTM` with as many parameters, in `hk.dynamic_unroll`;
  matmuls: the lower bound, nothing but the matrix products of the affine maps in `unroll`: those of
    the inputs once, those of the memory in a loop over time, and for training two more for each
    (none for the inputs' own gradient, which `unroll` does not compute either).

What bounds the training step of `unroll`, in shares of a profile on 2 cores (XLA of jax 0.10.2,
AMD EPYC with AVX-512), for narrow / wide / one_slot / four_slots: the matrix products take
20 / 41 / 60 / 48 %, the attention's small batched products 18 / 6 / 1 / 8 %, sums over slots and
units (layer norms, softmax, biases) 18 / 11 / 10 / 10 %, other arithmetic 22 / 21 / 20 / 20 %,
clearing and first touching the residuals 10 / 11 / 3 / 8 %, copies and slices the rest. With one
slot every product has only B rows, so it reads and writes whole matrices for little arithmetic.
Huge pages (`GLIBC_TUNABLES=glibc.malloc.hugetlb=1`) make touching cheaper.

Glossary of shapes:
  T: time; B: batch; N: memory slots; F: slot size, and the inputs' size; R: rows, B x N.
"""

from collections.abc import Callable, Sequence
import dataclasses
import functools
import statistics
import time
from typing import Any, NamedTuple

import chex
import haiku as hk
import jax
import jax.numpy as jnp

from launch.training import cores
import relational_rnn
from relational_rnn import memory


class Shape(NamedTuple):
    """The sizes of one comparison."""

    mem_slots: int
    head_size: int
    num_heads: int
    batch_size: int
    num_steps: int
    attention_mlp_layers: int


# The shapes of the paper's Nth Farthest (its best group in Figure 4) and language model (appendix
# A.4): minutes on a CPU.
PAPER_SHAPES = {
    'nth_farthest': Shape(8, 256, 1, 1600, 8, 2),
    'language_model': Shape(1, 625, 4, 64, 100, 5),
}
SHAPES = {
    'narrow': Shape(8, 16, 4, 256, 8, 2),
    'wide': Shape(8, 32, 8, 256, 8, 2),
    'one_slot': Shape(1, 128, 4, 32, 35, 3),
    'four_slots': Shape(4, 64, 4, 32, 40, 2),
    **PAPER_SHAPES,
}
VARIANTS = ('resets', 'lengths', 'remat')  # of `unroll`
PASSES = ('forward', 'train')
LOWER_BOUND = 'matmuls'


class Method(NamedTuple):
    """A loss to time, with and without its gradient."""

    forward: Callable[..., Any]
    train: Callable[..., Any]
    arguments: Callable[[], tuple[Any, ...]]  # makes them; the first are the parameters


def methods(shape: Shape, seed: int, variants: Sequence[str] = ()) -> dict[str, Method]:
    """Returns what is compared at a shape, by name.

    Args:
      shape: the sizes.
      seed: of parameters and inputs.
      variants: some of `VARIANTS`: `unroll` with resets, with lengths, or with `remat`.
    """
    slot_size = shape.head_size * shape.num_heads
    rmc = cores.Config(
        mem_slots=shape.mem_slots,
        total_units=shape.mem_slots * slot_size,
        num_heads=shape.num_heads,
        attention_mlp_layers=shape.attention_mlp_layers,
    )
    lstm = dataclasses.replace(rmc, core='lstm')
    keys = jax.random.split(jax.random.key(seed), 4)
    inputs = functools.partial(
        jax.random.normal, keys[0], (shape.num_steps, shape.batch_size, slot_size)
    )
    found = {'unroll': _recurrent(rmc, relational_rnn.unroll, inputs, keys[1])}
    for name in variants:
        flags = functools.partial(_flags, shape, name, keys[0])
        unroll = functools.partial(relational_rnn.unroll, remat=name == 'remat')
        found[f'unroll, {name}'] = _recurrent(rmc, unroll, inputs, keys[1], flags)
    return found | {
        'dynamic_unroll': _recurrent(rmc, hk.dynamic_unroll, inputs, keys[1]),
        'lstm': _recurrent(lstm, hk.dynamic_unroll, inputs, keys[2]),
        LOWER_BOUND: _lower_bound(shape, inputs, keys[3]),
    }


def _flags(shape: Shape, name: str, key: chex.PRNGKey) -> dict[str, chex.Array]:
    """Returns what a variant of `unroll` takes: a reset in ten steps, or lengths of 1 to T."""
    num_steps, batch_size = shape.num_steps, shape.batch_size
    if name == 'resets':
        return {name: jax.random.bernoulli(key, 0.1, (num_steps, batch_size))}
    if name == 'lengths':
        return {name: jax.random.randint(key, (batch_size,), 1, num_steps + 1)}
    return {}


def _recurrent(
    config: cores.Config,
    unroll: Callable[..., Any],
    make_inputs: Callable[[], chex.Array],
    key: chex.PRNGKey,
    make_flags: Callable[[], dict[str, chex.Array]] = dict,
) -> Method:
    """Returns a core's loss: the mean of its squared outputs, later units weighing more."""

    def loss_fn(inputs: chex.Array, flags: dict[str, chex.Array]) -> chex.Array:
        core = cores.make(config, inputs.shape[2:])
        outputs, _ = unroll(core, inputs, core.initial_state(inputs.shape[1]), **flags)
        weights = jnp.linspace(1, 2, outputs.shape[-1])
        return jnp.mean(jnp.square(outputs) * weights[None, None])

    model = hk.transform(loss_fn)

    def arguments() -> tuple[Any, ...]:
        inputs, flags = make_inputs(), make_flags()
        return jax.jit(model.init)(key, inputs, flags), inputs, flags

    def forward(params: hk.Params, *inputs: Any) -> chex.Array:
        return model.apply(params, None, *inputs)

    return Method(forward, jax.value_and_grad(forward), arguments)


def _lower_bound(shape: Shape, make_inputs: Callable[[], chex.Array], key: chex.PRNGKey) -> Method:
    """Returns the products with matrices [F, width] of the sizes of a core's affine maps."""
    config = memory.MemoryConfig(shape.mem_slots, shape.head_size, shape.num_heads)
    size, layers = config.slot_size, shape.attention_mlp_layers
    widths = [*[size] * layers, config.projection_size, config.gates_size, size, config.gates_size]

    def arguments() -> tuple[Any, ...]:
        keys = jax.random.split(key, len(widths) + 1)
        matrices = [
            jax.random.normal(own, (size, width)) * size**-0.5
            for own, width in zip(keys[1:], widths, strict=True)
        ]
        rows = jax.random.normal(keys[0], (shape.batch_size * config.mem_slots, size))
        return matrices, make_inputs().reshape(-1, size), rows

    return Method(
        functools.partial(_multiply, shape.num_steps, False),
        functools.partial(_multiply, shape.num_steps, True),
        arguments,
    )


def _multiply(
    num_steps: int, trains: bool, matrices: list[chex.Array], inputs: chex.Array, rows: chex.Array
) -> Any:
    """Multiplies inputs [T B, F] once, and rows [R, F] at each step; products are the cotangents.

    The first product is the next step's rows and all are carried, so that steps differ and, as far
    as a compiler can see, no result is thrown away.

    Args:
      num_steps: T.
      trains: whether each product is followed by the two of its gradient.
      matrices: those that the memory is multiplied by at each step, of which the first keeps its
        width and the last but one is of the inputs too; one for the inputs; one after that.
      inputs: [T B, F].
      rows: [R, F], the memory.
    """
    *of_memory, of_inputs, gates = matrices

    def products(x: chex.Array, w: chex.Array, d_x: bool = True) -> tuple[chex.Array, ...]:
        y = x @ w
        return (y, x.T @ y, y @ w.T)[: 1 + trains * (1 + d_x)]

    def step(_: Any, carry: list) -> list:
        return [products(carry[0][0], w) for w in of_memory]

    first = products(inputs, of_inputs, d_x=False)
    more = [products(first[0], w) for w in (of_memory[-2], gates)]
    shapes = jax.eval_shape(step, 0, [(rows,)])
    (_, *gradient), *others = jax.tree.map(lambda y: jnp.zeros(y.shape), shapes)
    carry = jax.lax.fori_loop(0, num_steps, step, [(rows, *gradient), *others])
    return first, more, carry


def measure(compared: dict[str, Method], repeats: int) -> dict[str, dict[str, Any]]:
    """Compiles, warms up and times methods in turns.

    Args:
      compared: the methods by name.
      repeats: timed calls of each pass of each method.

    Returns:
      By method `num_parameters`, and `forward` and `train`, each with `median_ms`, `min_ms`
      (milliseconds), `memory_bytes` (scratch space and results) and `peak_bytes` (None where not
      known).
    """
    arguments = {name: method.arguments() for name, method in compared.items()}
    compiled = {
        (name, pass_name): jax.jit(getattr(method, pass_name)).lower(*arguments[name]).compile()
        for name, method in compared.items()
        for pass_name in PASSES
    }
    seconds: dict[tuple[str, str], list[float]] = {key: [] for key in compiled}
    for _ in range(repeats + 1):  # the first round warms up
        for key, function in compiled.items():
            start = time.perf_counter()
            jax.block_until_ready(function(*arguments[key[0]]))
            seconds[key].append(time.perf_counter() - start)
    results: dict[str, dict[str, Any]] = {
        name: {'num_parameters': hk.data_structures.tree_size(arguments[name][0])}
        for name in compared
    }
    for (name, pass_name), function in compiled.items():
        times = [1000 * second for second in seconds[name, pass_name][1:]]
        results[name][pass_name] = {
            'median_ms': statistics.median(times),
            'min_ms': min(times),
            **_memory_use(function),
        }
    return results


def _memory_use(compiled: Any) -> dict[str, int | None]:
    """Returns what the analysis of a compiled program gives of its memory in bytes, else None."""
    analysis = compiled.memory_analysis()
    if analysis is None:
        return {'memory_bytes': None, 'peak_bytes': None}
    return {
        'memory_bytes': analysis.temp_size_in_bytes + analysis.output_size_in_bytes,
        'peak_bytes': getattr(analysis, 'peak_memory_in_bytes', 0) or None,
    }


HEADER = (
    f'{"":16}{"params":>11}'
    + ''.join(f'{f"{name} ms":>12}{"x unroll":>10}{"x matmuls":>10}' for name in PASSES)
    + f'{"train MB":>11}'
)


def table(results: dict[str, dict[str, Any]]) -> Sequence[str]:
    """Returns one line a method, under `HEADER`, of what `measure` returns."""
    lines = []
    for name, result in results.items():
        cells = [f'  {name:14}', f'{result["num_parameters"]:11,}']
        for pass_name in PASSES:
            median = result[pass_name]['median_ms']
            bases = [results[base][pass_name]['median_ms'] for base in ('unroll', LOWER_BOUND)]
            cells.append(f'{median:12.2f}{median / bases[0]:10.2f}{median / bases[1]:10.2f}')
        used = result['train']['memory_bytes']
        cells.append(f'{"?" if used is None else f"{used / 1e6:.0f}":>11}')
        lines.append(''.join(cells))
    return lines
