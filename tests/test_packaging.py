"""What is installed, under which version, and what every program's flags are."""

import ast
import dataclasses
import importlib
import importlib.metadata
import os
import pathlib
import pydoc
import re
import runpy
import shutil
import subprocess
import sys
import tarfile
import types
import zipfile

from packaging import markers
import pytest

from launch.runs import flags
import relational_rnn

ROOT = pathlib.Path(__file__).resolve().parent.parent
PACKAGES = ('relational_rnn', 'tasks', 'launch')
FOLDERS = (*PACKAGES, 'tests', 'docs', '.ci')
FILES = (
    *('CHANGELOG.md', 'CONTRIBUTING.md', 'LICENSE', 'MANIFEST.in', 'README.md'),
    *('mkdocs.yml', 'pyproject.toml', 'setup.py', '.gitignore'),
)
PROGRAMS = sorted(path.stem for path in (ROOT / 'launch').glob('[!_]*.py'))


def _read(path):
    return pathlib.Path(path).read_text('utf-8')


@pytest.fixture(scope='module')
def arguments():
    """Returns what setup.py hands to setuptools."""
    with pytest.MonkeyPatch.context() as patch:
        seen = {}
        fake = types.SimpleNamespace(setup=lambda **arguments: seen.update(arguments))
        patch.setitem(sys.modules, 'setuptools', fake)  # not every environment has the real one
        patch.chdir(ROOT)
        runpy.run_path(str(ROOT / 'setup.py'))
    return seen


def test_every_folder_with_code_is_a_listed_package(arguments):
    files = [path for package in PACKAGES for path in (ROOT / package).rglob('*.py')]
    folders = {'.'.join(path.parent.relative_to(ROOT).parts) for path in files}
    assert sorted(arguments['packages']) == sorted(folders)
    assert all((ROOT / name.replace('.', '/') / '__init__.py').exists() for name in folders)


def test_every_other_file_is_listed_too(arguments):
    listed = {
        f'{package.replace(".", "/")}/{name}'
        for package, names in arguments['package_data'].items()
        for name in names
    }
    paths = [path for package in PACKAGES for path in (ROOT / package).rglob('*') if path.is_file()]
    others = {path for path in paths if path.suffix not in ('.py', '.pyc')}
    assert listed == {str(path.relative_to(ROOT)) for path in others}


@pytest.fixture
def checkout(tmp_path, monkeypatch):
    """Returns a copy of what is built, for setuptools writes next to its sources."""
    pytest.importorskip('setuptools', '77')
    copy = tmp_path / 'checkout'
    for folder in FOLDERS:
        ignored = shutil.ignore_patterns('__pycache__')
        shutil.copytree(ROOT / folder, copy / folder, ignore=ignored)
    for name in FILES:
        shutil.copy(ROOT / name, copy / name)
    monkeypatch.chdir(copy)
    return copy


def _build(kind, folder):
    """Builds a distribution of the working directory as pip does, and returns its path."""
    code = f'from setuptools import build_meta; print(build_meta.build_{kind}({str(folder)!r}))'
    command = [sys.executable, '-W', 'ignore', '-c', code]
    done = subprocess.run(command, check=True, capture_output=True, text=True)
    return pathlib.Path(folder, done.stdout.split()[-1])


def test_type_checkers_find_an_editable_install(checkout, tmp_path):
    """They follow the lines of .pth files that are paths, and no import hooks."""
    with zipfile.ZipFile(_build('editable', tmp_path)) as wheel:
        (name,) = (name for name in wheel.namelist() if name.endswith('.pth'))
        assert wheel.read(name).decode().split('\n')[0] == str(checkout)
    for package in ('relational_rnn', 'tasks'):
        assert (checkout / package / 'py.typed').exists()


def test_a_source_distribution_holds_all_that_its_tests_read(checkout, tmp_path):
    with tarfile.open(_build('sdist', tmp_path)) as archive:
        packed = {name.partition('/')[2] for name in archive.getnames()}
    paths = [path for name in FOLDERS for path in (ROOT / name).rglob('*') if path.is_file()]
    names = {str(path.relative_to(ROOT)) for path in paths if path.suffix != '.pyc'}
    assert any(name.startswith('tests/golden/') for name in names)
    assert {*names, *FILES} - packed == set()


@pytest.mark.slow
def test_every_program_of_a_wheel_starts_outside_of_the_checkout(checkout, tmp_path):
    with zipfile.ZipFile(_build('wheel', tmp_path)) as wheel:
        wheel.extractall(tmp_path / 'installed')
    environment = {**os.environ, 'PYTHONPATH': str(tmp_path / 'installed')}
    for program in ('launch', *(f'launch.{name}' for name in PROGRAMS)):
        command = [sys.executable, '-P', '-m', program, '--version']
        done = subprocess.run(
            command, cwd=tmp_path, env=environment, check=True, capture_output=True, text=True
        )
        assert done.stdout.startswith(f'relational_rnn {relational_rnn.__version__}, ')


def test_help_shows_the_public_names():
    assert set(relational_rnn.__all__) >= {'RelationalMemory', 'unroll', 'params_from_sonnet'}
    page = pydoc.plaintext.document(relational_rnn)
    assert f'VERSION\n    {relational_rnn.__version__}\n' in page
    for name in relational_rnn.__all__:
        assert re.search(rf'^    (class )?{name}\(', page, re.MULTILINE), name


def test_python_3_11_is_the_oldest(arguments):
    assert arguments['python_requires'] == '>=3.11'


def test_it_cannot_be_uploaded_by_accident(arguments):
    assert 'Private :: Do Not Upload' in arguments['classifiers']
    assert arguments['license'] == 'Apache-2.0'


def test_the_extra_for_developers_holds_the_tools_that_the_checks_call(arguments):
    names = {re.match('[A-Za-z-]+', line)[0] for line in arguments['extras_require']['dev']}
    assert {'mypy', 'pytest', 'ruff'} <= names


def test_all_that_is_imported_is_required(arguments):
    lines = arguments['install_requires'] + [
        line
        for extra in ('corpora', 'dm-env', 'equinox', 'flax', 'gymnasium')
        for line in arguments['extras_require'][extra]
    ]
    names = {re.match(r'[A-Za-z_-]+', line)[0] for line in lines}
    distributions = {
        'absl': 'absl-py',
        'dm_env': 'dm-env',
        'google': 'protobuf',
        'PIL': 'pillow',
        'haiku': 'dm-haiku',
        'orbax': 'orbax-checkpoint',
        'tensorflow_datasets': 'tensorflow-datasets',
    }
    imported = set()
    for package in PACKAGES:
        for path in (ROOT / package).rglob('*.py'):
            for node in ast.walk(ast.parse(_read(path))):
                if isinstance(node, ast.Import):
                    imported |= {alias.name.split('.')[0] for alias in node.names}
                elif isinstance(node, ast.ImportFrom):
                    imported.add(node.module.split('.')[0])
    imported -= sys.stdlib_module_names | set(PACKAGES)
    assert {distributions.get(name, name) for name in imported} <= names


def test_what_has_no_wheels_for_a_platform_is_not_required_there(arguments):
    """So that the core can be installed on Windows too."""
    (line,) = (x for x in arguments['install_requires'] if x.startswith('array_record'))
    marker = markers.Marker(line.partition(';')[2])
    wanted = {
        ('Linux', 'x86_64'): True,
        ('Linux', 'aarch64'): True,
        ('Darwin', 'arm64'): True,
        ('Darwin', 'x86_64'): False,
        ('Windows', 'AMD64'): False,
    }
    for (system, machine), is_required in wanted.items():
        platform = {'platform_system': system, 'platform_machine': machine}
        assert marker.evaluate(platform) == is_required


POSIX = {'curses', 'fcntl', 'grp', 'pty', 'pwd', 'resource', 'syslog', 'termios', 'tty'}
SOME_PLATFORMS = POSIX | {'array_record', 'uvloop'}


@pytest.mark.parametrize('package', PACKAGES)
def test_what_some_platforms_lack_is_imported_only_where_its_absence_is_caught(package):
    for path in (ROOT / package).rglob('*.py'):
        tree = ast.parse(_read(path))
        tries = [node for node in ast.walk(tree) if isinstance(node, ast.Try)]
        caught = {id(node) for block in tries for node in ast.walk(block)}
        for node in ast.walk(tree):
            modules = [alias.name for alias in getattr(node, 'names', []) if alias.name]
            if isinstance(node, ast.ImportFrom):
                modules = [node.module]
            roots = {module.partition('.')[0] for module in modules}
            if isinstance(node, ast.Import | ast.ImportFrom) and roots & SOME_PLATFORMS:
                assert id(node) in caught, f'{path}:{node.lineno}'


def test_only_the_files_that_wrap_worlds_import_what_an_extra_brings():
    wanted = {'gymnasium': {'gymnasium_env.py'}, 'dm_env': {'dm_environment.py'}}
    found = {name: set() for name in wanted}
    for package in ('launch', 'relational_rnn', 'tasks'):
        for path in (ROOT / package).rglob('*.py'):
            for name in wanted:
                if re.search(rf'^\s*(import|from) {name}\b', _read(path), re.MULTILINE):
                    found[name].add(path.name)
    assert found == wanted


def test_the_extras_are_in_the_one_for_developers_too(arguments):
    extras = arguments['extras_require']
    assert set(extras['gymnasium'] + extras['dm-env']) <= set(extras['dev'])


def test_compilers_for_absent_devices_are_extras_of_jax_itself(arguments):
    extras = arguments['extras_require']
    assert extras['plan-gpu'] == ['jax[cuda13-local]']
    assert extras['plan-tpu'] == ['jax[tpu]']
    assert set(extras['plan-gpu']) <= set(extras['dev'])
    offered = importlib.metadata.metadata('jax').get_all('Provides-Extra')
    assert {'cuda13-local', 'tpu'} <= set(offered)


def test_the_version_is_the_newest_of_the_changelog(arguments):
    text = _read(ROOT / 'CHANGELOG.md')
    assert re.findall(r'^## ([0-9][^ \n]*)', text, re.MULTILINE)[0] == arguments['version']


def test_there_are_programs():
    assert 'lm' in PROGRAMS


@pytest.mark.parametrize('program', PROGRAMS)
def test_every_flag_of_a_program_says_what_happens_on_resume(program):
    config = importlib.import_module(f'launch.{program}').Config
    classes = flags.on_resume(config)
    assert list(classes) == [field.name for field in dataclasses.fields(config)]
    assert set(classes.values()) <= {'fixed', 'warn', 'free'}


@pytest.mark.parametrize(
    'program', [p for p in PROGRAMS if 'EXPERIMENT =' in _read(ROOT / f'launch/{p}.py')]
)
def test_every_flag_of_an_experiment_has_a_group(program):
    config = importlib.import_module(f'launch.{program}').Config
    names = {field.name for field in dataclasses.fields(config)}
    assert {flags.group(config, name) for name in names} <= set(flags.GROUPS[1:])
    for owner in config.__mro__:
        groups = vars(owner).get('GROUPS', {})
        assert {name for text in groups.values() for name in text.split()} - {'*'} <= names
        assert list(groups.values()).count('*') <= 1


@pytest.mark.parametrize('program', PROGRAMS)
def test_every_flag_of_a_program_is_described(program):
    for field in dataclasses.fields(importlib.import_module(f'launch.{program}').Config):
        assert field.metadata['help'], field.name
