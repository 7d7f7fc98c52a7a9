"""Times the Relational Memory Core against other ways to do its work, and the worlds of agents.

  python -m launch.benchmark --output=benchmark.json
  python -m launch.benchmark --shapes=none         the worlds alone, see `environments_lib`
  python -m launch.benchmark --environments=none   the core alone

Every shape is run as a forward pass (the loss) and as a training step (loss and gradient of all
parameters), by four contenders that take turns, so that noise hits all alike:
  unroll: `relational_rnn.unroll` of a `RelationalMemory`;
  dynamic_unroll: the same core in `hk.dynamic_unroll`;
  lstm: `hk.LSTM` with as many parameters, in `hk.dynamic_unroll`;
  products: the floor, nothing but the matrix products of the affine maps in `unroll`: those of
    the inputs once, those of the memory in a loop over time, and for training two more for each
    (none for the inputs' own gradient, which nobody asks for).

What bounds the training step of `unroll`, in shares of a profile on 2 cores (XLA of jax 0.10.2,
AMD EPYC with AVX-512), for narrow / wide / one_slot / four_slots: the products take
20 / 41 / 60 / 48 %, the attention's small batched products 18 / 6 / 1 / 8 %, sums over rows and
units (layer norms, softmax, biases) 18 / 11 / 10 / 10 %, other arithmetic 22 / 21 / 20 / 20 %,
clearing and first touching the residuals 10 / 11 / 3 / 8 %, copies and slices the rest. With one
slot every product has only B rows, so it reads and writes whole matrices for little arithmetic.
Huge pages (`GLIBC_TUNABLES=glibc.malloc.hugetlb=1`) make touching cheaper.

Glossary of shapes:
  T: time; B: batch; N: memory slots; F: slot size, and the inputs' size; R: rows, B x N.
"""

from collections.abc import Callable, Iterable, Sequence
import dataclasses
import functools
import json
import os
import pathlib
import platform
import statistics
import sys
import time
from typing import Any, NamedTuple

import chex
import haiku as hk
import jax
import jax.numpy as jnp

from launch.benchmarks import environments as environments_lib
from launch.runs import errors, flags
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


SHAPES = {
    'narrow': Shape(8, 16, 4, 256, 8, 2),
    'wide': Shape(8, 32, 8, 256, 8, 2),
    'one_slot': Shape(1, 128, 4, 32, 35, 3),
    'four_slots': Shape(4, 64, 4, 32, 40, 2),
}
PASSES = ('forward', 'train')
WORLDS = environments_lib.WORLDS


@dataclasses.dataclass(frozen=True)
class Config:
    """Times the Relational Memory Core against other ways to do its work, and worlds of agents."""

    shapes: str = flags.flag(
        'all', f'of the core: some of {", ".join(SHAPES)}, with commas, all or none', 'free'
    )
    environments: str = flags.flag(
        'all', f'some of {", ".join(WORLDS)}, with commas, all or none', 'free'
    )
    repeats: int = flags.flag(7, 'timed calls of each, of which the median counts', 'free', 5)
    output: str = flags.flag('', 'where to write the numbers as JSON; nowhere if empty', 'free')
    seed: int = flags.flag(0, 'seed of parameters and inputs', 'free', 0)

    def __post_init__(self) -> None:
        flags.check(self)
        for name in self.shape_names:
            flags.check_choice('shapes', name, SHAPES)
        for name in self.environment_names:
            flags.check_choice('environments', name, WORLDS)
        folder = pathlib.Path(self.output or '.').parent
        if self.output and (not folder.is_dir() or pathlib.Path(self.output).is_dir()):
            raise ValueError(f'--output: wanted a file in an existing folder, got {self.output!r}')

    @property
    def shape_names(self) -> list[str]:
        """The names of the shapes to run."""
        return _names(self.shapes, SHAPES)

    @property
    def environment_names(self) -> list[str]:
        """The names of the worlds to run."""
        return _names(self.environments, WORLDS)


def _names(chosen: str, known: Iterable[str]) -> list[str]:
    """Returns what a flag chooses of names."""
    return {'all': list(known), 'none': []}.get(chosen, chosen.split(','))


class Contender(NamedTuple):
    """A loss to time, with and without its gradient."""

    forward: Callable[..., Any]
    train: Callable[..., Any]
    arguments: tuple[Any, ...]
    num_parameters: int


class ProductWeights(NamedTuple):
    """The matrices of a core's affine maps, each [F, width]."""

    mlp: tuple[chex.Array, ...]  # F -> F each
    projection: chex.Array  # to queries, keys and values, of the memory and of the inputs
    memory_gates: chex.Array
    input: chex.Array  # F -> F
    input_gates: chex.Array

    @property
    def of_memory(self) -> tuple[chex.Array, ...]:
        """Those that the memory's rows go through at each step; the first keeps their width."""
        return (*self.mlp, self.projection, self.memory_gates)

    @property
    def of_inputs(self) -> tuple[chex.Array, ...]:
        """Those that the inputs go through after the matrix `input`."""
        return (self.projection, self.input_gates)


def run(config: Config) -> dict[str, Any]:
    """Times all contenders, prints a table and writes the numbers if asked to.

    Args:
      config: the flags.

    Returns:
      `machine`, a description by name, and `shapes`: by name the `sizes` and by contender
      `num_parameters`, `forward` and `train`, each with `median_ms`, `min_ms` (milliseconds),
      `memory_bytes` (scratch space and results) and `peak_bytes` (None where not known); and
      `environments`, by name what `environments_lib.measure` returns.

    Raises:
      RunError: the file cannot be written.
    """
    machine = describe_machine()
    print(', '.join(f'{name} {value}' for name, value in machine.items()))
    results: dict[str, Any] = {
        'machine': machine,
        'repeats': config.repeats,
        'shapes': _run_shapes(config),
        'environments': _run_environments(config),
    }
    if config.output:
        _write(pathlib.Path(config.output), results)
    return results


def _run_shapes(config: Config) -> dict[str, Any]:
    """Returns, and prints, what was measured of the core."""
    results: dict[str, Any] = {}
    for name in config.shape_names:
        if not results:
            print(_HEADER, flush=True)
        shape = SHAPES[name]
        timings = compare(contenders(shape, config.seed), config.repeats)
        results[name] = {'sizes': shape._asdict(), **timings}
        print('\n'.join([f'{name} {tuple(shape)}', *_table(timings)]), flush=True)
    return results


def _run_environments(config: Config) -> dict[str, Any]:
    """Returns, and prints, what was measured of the worlds."""
    results: dict[str, Any] = {}
    size = environments_lib.Size()
    for name in config.environment_names:
        if not results:
            print(environments_lib.HEADER, flush=True)
        measured = environments_lib.measure(WORLDS[name], size, config.repeats, config.seed)
        results[name] = measured
        print('\n'.join(environments_lib.table({name: measured})), flush=True)
    return results


def contenders(shape: Shape, seed: int) -> dict[str, Contender]:
    """Returns what is compared at a shape, by name.

    Args:
      shape: the sizes.
      seed: seed of parameters and inputs.
    """
    config = memory.MemoryConfig(
        shape.mem_slots,
        shape.head_size,
        shape.num_heads,
        attention_mlp_layers=shape.attention_mlp_layers,
    )
    keys = jax.random.split(jax.random.key(seed), 4)
    inputs = jax.random.normal(keys[0], (shape.num_steps, shape.batch_size, config.slot_size))

    def core() -> hk.RNNCore:
        return relational_rnn.RelationalMemory(
            shape.mem_slots,
            shape.head_size,
            shape.num_heads,
            attention_mlp_layers=shape.attention_mlp_layers,
        )

    unroll = _recurrent(core, relational_rnn.unroll, inputs, keys[1])
    size = cores.lstm_size(unroll.num_parameters, config.slot_size)
    return {
        'unroll': unroll,
        'dynamic_unroll': _recurrent(core, hk.dynamic_unroll, inputs, keys[1]),
        'lstm': _recurrent(lambda: hk.LSTM(size), hk.dynamic_unroll, inputs, keys[2]),
        'products': _products(config, inputs, keys[3]),
    }


def _recurrent(
    make_core: Callable[[], hk.RNNCore],
    unroll: Callable[..., Any],
    inputs: chex.Array,
    key: chex.PRNGKey,
) -> Contender:
    """Returns a core's loss: the mean of its squared outputs, later units weighing more."""

    def loss_fn(inputs: chex.Array) -> chex.Array:
        core = make_core()
        outputs, _ = unroll(core, inputs, core.initial_state(inputs.shape[1]))
        weights = jnp.linspace(1, 2, outputs.shape[-1])
        return jnp.mean(jnp.square(outputs) * weights[None, None])

    model = hk.transform(loss_fn)
    params = jax.jit(model.init)(key, inputs)

    def forward(params: hk.Params, inputs: chex.Array) -> chex.Array:
        return model.apply(params, None, inputs)

    train = jax.value_and_grad(forward)
    return Contender(forward, train, (params, inputs), hk.data_structures.tree_size(params))


def _products(config: memory.MemoryConfig, inputs: chex.Array, key: chex.PRNGKey) -> Contender:
    """Returns the floor: products of the sizes that a core's affine maps have."""
    size, gates_size = config.slot_size, config.gates_size
    num_steps, batch_size, _ = inputs.shape
    keys = iter(jax.random.split(key, config.attention_mlp_layers + 5))

    def matrix(width: int) -> chex.Array:
        return jax.random.normal(next(keys), (size, width)) * size**-0.5

    weights = ProductWeights(
        mlp=tuple(matrix(size) for _ in range(config.attention_mlp_layers)),
        projection=matrix(config.projection_size),
        memory_gates=matrix(gates_size),
        input=matrix(size),
        input_gates=matrix(gates_size),
    )
    rows = jax.random.normal(next(keys), (batch_size * config.mem_slots, size))
    return Contender(
        functools.partial(_forward_products, num_steps),
        functools.partial(_train_products, num_steps),
        (weights, inputs.reshape(-1, size), rows),
        sum(w.size for w in jax.tree.leaves(weights)),
    )


def _forward_products(
    num_steps: int, weights: ProductWeights, inputs: chex.Array, rows: chex.Array
) -> Any:
    """Multiplies inputs [T B, F] once, and rows [R, F] at each step by every matrix.

    The first product is the next step's rows and all are carried, so that no step is like another
    and no result is thrown away as far as a compiler can see.
    """
    projected = inputs @ weights.input
    given = [projected @ w for w in weights.of_inputs]

    def body(_: int, products: list[chex.Array]) -> list[chex.Array]:
        return [products[0] @ w for w in weights.of_memory]

    first = [rows, *(jnp.zeros((rows.shape[0], w.shape[1])) for w in weights.of_memory[1:])]
    return given, jax.lax.fori_loop(0, num_steps, body, first)


def _train_products(
    num_steps: int, weights: ProductWeights, inputs: chex.Array, rows: chex.Array
) -> Any:
    """As `_forward_products`, with the two backward products of each, results as cotangents."""
    projected = inputs @ weights.input
    given = [_backward_products(projected, w, projected @ w) for w in weights.of_inputs]
    given_first = inputs.T @ projected

    def body(_: int, carry: tuple[chex.Array, Any]) -> tuple[chex.Array, Any]:
        products = [carry[0] @ w for w in weights.of_memory]
        pairs = zip(weights.of_memory, products, strict=True)
        return products[0], [_backward_products(carry[0], w, y) for w, y in pairs]

    first = (rows, [(jnp.zeros_like(rows), jnp.zeros_like(w)) for w in weights.of_memory])
    return given, given_first, jax.lax.fori_loop(0, num_steps, body, first)


def _backward_products(
    x: chex.Array, w: chex.Array, d_product: chex.Array
) -> tuple[chex.Array, chex.Array]:
    """Returns the products that give the cotangents of x [R, F] and w [F, ...]."""
    return d_product @ w.T, x.T @ d_product


def compare(entries: dict[str, Contender], repeats: int) -> dict[str, dict[str, Any]]:
    """Compiles, warms up and times contenders in turns.

    Args:
      entries: the contenders by name.
      repeats: timed calls of each pass of each contender.

    Returns:
      By contender `num_parameters`, `forward` and `train`, as in `run`.
    """
    compiled = {
        (name, passing): jax.jit(getattr(entry, passing)).lower(*entry.arguments).compile()
        for name, entry in entries.items()
        for passing in PASSES
    }
    seconds: dict[tuple[str, str], list[float]] = {key: [] for key in compiled}
    for _ in range(repeats + 1):  # the first round warms up
        for key, function in compiled.items():
            start = time.perf_counter()
            jax.block_until_ready(function(*entries[key[0]].arguments))
            seconds[key].append(time.perf_counter() - start)
    results: dict[str, dict[str, Any]] = {
        name: {'num_parameters': entry.num_parameters} for name, entry in entries.items()
    }
    for (name, passing), function in compiled.items():
        times = [1000 * second for second in seconds[name, passing][1:]]
        results[name][passing] = {
            'median_ms': statistics.median(times),
            'min_ms': min(times),
            **_memory_use(function),
        }
    return results


def _memory_use(compiled: Any) -> dict[str, int | None]:
    """Returns what a compiled program's analysis says of its memory, in bytes, None if nothing."""
    analysis = compiled.memory_analysis()
    if analysis is None:
        return {'memory_bytes': None, 'peak_bytes': None}
    return {
        'memory_bytes': analysis.temp_size_in_bytes + analysis.output_size_in_bytes,
        'peak_bytes': getattr(analysis, 'peak_memory_in_bytes', 0) or None,
    }


def describe_machine() -> dict[str, Any]:
    """Returns what the numbers depend on: processor, cores, versions and device."""
    return {
        'cpu': _cpu_model(),
        'cores': len(os.sched_getaffinity(0)),
        'python': platform.python_version(),
        'jax': jax.__version__,
        'backend': jax.default_backend(),
        'device': jax.devices()[0].device_kind,
    }


def _cpu_model() -> str:
    try:
        lines = pathlib.Path('/proc/cpuinfo').read_text('utf-8').splitlines()
    except OSError:
        lines = []
    models = [line.partition(':')[2].strip() for line in lines if line.startswith('model name')]
    return models[0] if models else platform.processor() or platform.machine()


_HEADER = (
    f'{"":16}{"params":>11}'
    + ''.join(f'{f"{name} ms":>12}{"x unroll":>10}{"x floor":>10}' for name in PASSES)
    + f'{"train MB":>11}'
)


def _table(results: dict[str, dict[str, Any]]) -> Sequence[str]:
    """Returns one line a contender, under `_HEADER`."""
    lines = []
    for name, result in results.items():
        cells = [f'  {name:14}', f'{result["num_parameters"]:11,}']
        for passing in PASSES:
            median = result[passing]['median_ms']
            ratios = [median / results[key][passing]['median_ms'] for key in ('unroll', 'products')]
            cells.append(f'{median:12.2f}{ratios[0]:10.2f}{ratios[1]:10.2f}')
        used = result['train']['memory_bytes']
        cells.append(f'{"?" if used is None else f"{used / 1e6:.0f}":>11}')
        lines.append(''.join(cells))
    return lines


def _write(path: pathlib.Path, results: dict[str, Any]) -> None:
    try:
        path.write_text(json.dumps(results, indent=2) + '\n', 'utf-8')
    except OSError as error:
        message = f'{path} cannot be written: {error.strerror}'
        raise errors.RunError(errors.CANNOT_SAVE, message) from error
    print(f'numbers written to {path}')


if __name__ == '__main__':
    sys.exit(flags.main(Config, run, 'benchmark'))
