"""What a program trains: a network, where its batches come from, and how it is measured.

Glossary of shapes:
  B: batch size; n: devices; P: processes; T: time steps.
"""

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import chex

from relational_rnn import losses

Metrics = Mapping[str, losses.WeightedSum]


class Curriculum(NamedTuple):
    """How the batches of a task get harder: by levels, counted from 0.

    After every `every`-th update `passes` decides, from the parameters alone, whether a level is
    learned; the batches after it are then of the next level. The level also rises after `patience`
    evaluations without success. Nothing else decides, so a resumed run has the same levels.
    """

    every: int
    num_levels: int
    patience: int
    passes: Callable[[chex.ArrayTree, int], bool]  # parameters, level


class Task(NamedTuple):
    """A network with its data. Batches come from the host (`batch`) or the device (`sample`).

    `carry` is what is passed from batch to batch, arrays [B, ...], such as the state of a core; ().
    `loss` returns metrics over the positions of a batch, the objective under the name 'loss'.
    """

    init: Callable[[chex.PRNGKey], chex.ArrayTree]  # key -> parameters
    loss: Callable[..., tuple[Metrics, chex.ArrayTree]]  # params, batch, carry, keys [B / n]
    evaluate: Callable[[chex.ArrayTree], Mapping[str, float]]  # parameters -> metrics in training
    test: Callable[[chex.ArrayTree, bool], dict[str, Any]]  # params, thorough -> evaluation.json
    unit: str  # what a weight of 1 in the loss is, in the plural: words
    consumes: tuple[str, int]  # what an update consumes, in the plural, and how many: words, 1024
    core_parameters: int  # how many of the parameters are the core's
    # step -> this process's share, host arrays [T, B / P, ...]; with a curriculum (step, level)
    batch: Callable[..., chex.ArrayTree] | None = None
    # params, carry, keys [B / n] -> a batch [T, B / n, ...] and the carry after it
    sample: Callable[..., tuple[chex.ArrayTree, chex.ArrayTree]] | None = None
    initial_carry: Callable[[], chex.ArrayTree] = lambda: ()  # of all processes
    perplexity: bool = False  # whether the loss is a mean nll, to be shown as a perplexity too
    curriculum: Curriculum | None = None  # of batches from the host
    data: str = ''  # identifies the data; a checkpoint is resumed only on the same
    prepared_by: str = ''  # packages, with versions, on which `data` depends as well
    files: Mapping[str, Callable[[Any], None]] = {}  # what writes `kept_files`, by name
