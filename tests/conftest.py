"""What tests of several files share."""

import gc
import mmap
import os
import pathlib

import jax
from jax.experimental.compilation_cache import compilation_cache
import jaxlib
import pytest


def _compile_without_fusion_emitters():
    """Chooses XLA's older code for fusions on CPU: less optimised, compiled in a third of the time.

    XLA aborts at a flag that it does not know, so this looks for its name in XLA's library first.
    """
    name = 'xla_cpu_use_fusion_emitters'
    with (pathlib.Path(jaxlib.__file__).parent / 'libjax_common.so').open('rb') as library:
        known = mmap.mmap(library.fileno(), 0, access=mmap.ACCESS_READ).find(name.encode()) >= 0
    if known:
        os.environ['XLA_FLAGS'] = f'{os.environ.get("XLA_FLAGS", "")} --{name}=false'.strip()


_compile_without_fusion_emitters()


@pytest.fixture(scope='module', autouse=True)
def _forget_what_is_compiled():
    """The kernel lets a process map 65,530 pieces of memory; a run's programs take some 4,000."""
    yield
    jax.clear_caches()
    gc.collect()


@pytest.fixture(scope='module')
def compile_once(tmp_path_factory):
    """Lets the runs of a file share what XLA compiled, and returns the environment that does so."""
    options = {
        'jax_compilation_cache_dir': str(tmp_path_factory.mktemp('compiled')),
        'jax_persistent_cache_min_compile_time_secs': 0.05,
        'jax_persistent_cache_min_entry_size_bytes': -1,
    }
    before = {name: getattr(jax.config, name) for name in options}
    _configure(options)
    yield {name.upper(): str(value) for name, value in options.items()}
    _configure(before)


@pytest.fixture(scope='module')
def compile_quickly():
    """Compiles without most optimisations: in half the time, what runs only once."""
    jax.config.update('jax_disable_most_optimizations', True)
    yield
    jax.config.update('jax_disable_most_optimizations', False)


def _configure(options):
    for name, value in options.items():
        jax.config.update(name, value)
    compilation_cache.reset_cache()
