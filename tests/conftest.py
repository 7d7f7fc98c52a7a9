"""What tests of several files share."""

import gc
import os

import jax
from jax.experimental.compilation_cache import compilation_cache
import jaxlib
import pytest

# Tests compute on the CPU, here and in the programs that they start; of the compilers for other
# devices, which may be installed, nothing else is wanted.
os.environ.setdefault('JAX_PLATFORMS', 'cpu')
jax.config.update('jax_platforms', os.environ['JAX_PLATFORMS'])

# Compiles in half the time. XLA ends the process at a flag that it does not have, so only where
# that was tried.
if jaxlib.__version__.startswith('0.10.'):
    flags = os.environ.get('XLA_FLAGS', ''), '--xla_cpu_use_fusion_emitters=false'
    os.environ['XLA_FLAGS'] = ' '.join(flags)


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
