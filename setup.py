"""Packaging. Packages are listed by hand: setuptools drops a top-level one named `tasks`."""

import pathlib
import re

import setuptools

LIBRARY = pathlib.Path('relational_rnn/__init__.py').read_text(encoding='utf-8')

GYMNASIUM = ['gymnasium>=1.0']
DM_ENV = ['dm-env>=1.6']
FLAX = ['flax>=0.12']
EQUINOX = ['equinox>=0.13']
CORPORA = ['backports.zstd>=1.0; python_version < "3.14"', 'pyarrow>=18']
SUBWORDS = ['tokenizers>=0.23']
DOCS = ['mkdocs-material>=9.5', 'mkdocstrings[python]>=0.27']
# Compilers for devices that are not here, see launch/training/targets.py: the plug-in for CUDA in
# JAX's own version, without the libraries of CUDA, and libtpu.
PLAN_GPU = ['jax[cuda13-local]']
PLAN_TPU = ['jax[tpu]']
ARRAY_RECORD_PLATFORMS = (
    'platform_system == "Linux" or platform_system == "Darwin" and platform_machine == "arm64"'
)
DEV_REQUIREMENTS = [
    *CORPORA,
    *GYMNASIUM,
    *DM_ENV,
    *FLAX,
    *EQUINOX,
    *SUBWORDS,
    *DOCS,
    *PLAN_GPU,
    'mypy>=1.13',
    'playwright>=1.49',
    'pytest>=9',
    'pytest-xdist>=3.6',
    'ruff>=0.9',
    'setuptools>=77',
]

PACKAGES = [
    'relational_rnn',
    'relational_rnn.baselines',
    'relational_rnn.networks',
    'tasks',
    'tasks.environments',
    'tasks.environments.boxworld',
    'tasks.environments.mini_pacman',
    'tasks.learning_to_execute',
    'tasks.text',
    'tasks.text.tfds',
    'launch',
    'launch.agents',
    'launch.benchmarks',
    'launch.executing',
    'launch.farthest',
    'launch.inspection',
    'launch.language',
    'launch.reports',
    'launch.runs',
    'launch.sweeps',
    'launch.trained',
    'launch.training',
    'launch.viewer',
]

setuptools.setup(
    name='relational_rnn',
    version=re.search(r"^__version__ = '(.*)'$", LIBRARY, re.MULTILINE)[1],
    description='Relational recurrent neural networks (Relational Memory Core) in JAX and Haiku.',
    long_description=pathlib.Path('README.md').read_text(encoding='utf-8'),
    long_description_content_type='text/markdown',
    license='Apache-2.0',
    packages=PACKAGES,
    # An editable install is then a line in a .pth file, which type checkers follow; else setuptools
    # installs an import hook, which they do not.
    package_dir={'': '.'},
    package_data={
        'launch': ['py.typed'],
        'launch.inspection': [
            'page.css',
            'page.html',
            'page.js',
            'page_panels.js',
            'page_scene.js',
        ],
        'launch.training': ['targets.json'],
        'relational_rnn': ['py.typed'],
        'tasks': ['py.typed'],
    },
    python_requires='>=3.11',
    install_requires=[
        'absl-py>=2.1',
        # It has no wheels elsewhere, and only data sets of TFDS need it.
        f'array_record>=0.8; {ARRAY_RECORD_PLATFORMS}',
        'chex>=0.1.92',
        'dm-haiku>=0.0.17',
        'filelock>=3.12',
        'flatbuffers>=24',  # `jax.export` needs it to write and to read
        'importlib_resources>=6',  # tensorflow-datasets needs it and does not say so
        'jax>=0.8',
        'jaxlib>=0.8',
        'jmp>=0.0.4',
        'matplotlib>=3.9',
        'numpy>=1.26',
        'optax>=0.2.8',
        'orbax-checkpoint>=0.11',
        'pillow>=10',
        'protobuf>=3.20',
        'tensorboardX>=2.6',
        'tensorflow-datasets>=4.9.10',
        'tqdm>=4.66',
    ],
    extras_require={
        'corpora': CORPORA,
        'dev': DEV_REQUIREMENTS,
        'dm-env': DM_ENV,  # pip before 23.3 finds no extra with an underscore
        'docs': DOCS,
        'equinox': EQUINOX,
        'flax': FLAX,
        'gymnasium': GYMNASIUM,
        'plan-gpu': PLAN_GPU,
        'plan-tpu': PLAN_TPU,
        'subwords': SUBWORDS,
    },
    classifiers=[
        'Private :: Do Not Upload',
        'Programming Language :: Python :: 3.11',
        'Programming Language :: Python :: 3.12',
        'Programming Language :: Python :: 3.13',
        'Typing :: Typed',
    ],
)
