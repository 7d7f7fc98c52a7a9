"""Runs that no update has touched, of the smallest sizes, for tests of what reads runs."""

import jax
import numpy as np

from launch import mini_pacman
from launch.agents import network as network_lib
from launch.executing import configuration as program_flags
from launch.executing import learning as program_learning
from launch.farthest import configuration, learning
from tests.support import inspected

CORE = {'mem_slots': 2, 'total_units': 12, 'num_heads': 2, 'attention_mlp_layers': 1}


def agent(root, **flags):
    """Writes a run of `mini_pacman` to root/run and returns its directory and configuration."""
    config = mini_pacman.Config(viewport=3, **CORE, batch_size=2, **flags)
    return _save(root, config, network_lib.make(config, config.environment()), 'mini_pacman')


def questions(root, **flags):
    """Likewise of `nth_farthest`, 3 vectors of 2 dimensions."""
    sizes = {'num_objects': 3, 'num_dims': 2, 'one_hot_scale': 4.0, **CORE, **flags}
    config = configuration.Config(**sizes)
    return _save(root, config, learning.make_network(config), 'nth_farthest')


def programs(root, **flags):
    """Likewise of `learning_to_execute`."""
    config = program_flags.Config(**CORE, **flags)
    return _save(root, config, program_learning.make_network(config), 'learning_to_execute')


def _save(root, config, network, program):
    (root / 'run').mkdir(parents=True)
    params = network.init(jax.random.key(5))
    params = jax.tree.map(lambda leaf: 3 * np.asarray(leaf), params)  # outputs that differ
    inspected.save_run(root / 'run', program, config, params)
    return root / 'run', config
