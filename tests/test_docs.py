"""The code and the commands of README and docs work, and what they name exists."""

import dataclasses
import importlib
import importlib.util
import os
import re
import shlex
import subprocess
import sys

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from launch import nth_farthest
from launch.runs import flags
from launch.sweeps import grid
from launch.training import experiment
from tests.support import inspected, pages, untrained_runs

ROOT, PAGES = pages.ROOT, pages.PAGES
README = PAGES['README.md']


def _commands(page):
    """Returns the commands of a page that start a program, of its blocks and its tables."""
    shell = [text for language, text in pages.blocks(page) if language != 'python']
    lines = '\n'.join(shell).split('\n')
    lines += re.findall(r'`(python -m launch\.[^`]+)`', PAGES[page])
    parts = [part for line in lines for part in line.split(' #')[0].split('&&')]
    return [part[part.index('launch.') :].strip() for part in parts if 'python -m launch.' in part]


def _parse(command):
    """Returns the program of a command, its module and its configuration."""
    program, *words = shlex.split(command.removeprefix('launch.'))
    module = importlib.import_module(f'launch.{program}')
    config = flags.parse(module.Config, words, program, getattr(module, 'PRESETS', {}))
    return program, module, config


COMMANDS = [(page, command) for page in PAGES for command in _commands(page)]


@pytest.mark.usefixtures('compile_quickly')
def test_the_code_of_the_readme_runs():
    logits = pages.run('README.md')['logits']
    assert logits.shape == (20, 8, 10)
    assert bool(jnp.all(jnp.isfinite(logits)))


@pytest.mark.usefixtures('compile_quickly')
def test_the_code_about_the_core_runs_and_has_the_shapes_that_its_comments_name():
    names = pages.run('docs/core.md')
    assert names['outputs'].shape == (6, 5, 24)
    assert names['state'].shape == (5, 3, 8)
    assert names['attention'].shape == (6, 5, 2, 3, 4)
    assert names['half_outputs'].dtype == jnp.float32
    assert 0 < jnp.max(jnp.abs(names['half_outputs'] - names['outputs'])) < 0.1
    assert 'linear/w' in names['variables']
    assert 'mlp/linear_0/w' in names['variables']
    assert jax.tree.structure(names['converted']) == jax.tree.structure(names['params'])

    hk = names['hk']

    def act(observation, should_reset):
        core = names['relational_rnn'].RelationalMemory(4, 32, num_heads=4, gate_style='memory')
        return names['agent'](observation, should_reset, (core.initial_state(3),))

    network = hk.without_apply_rng(hk.transform(act))
    inputs = jax.random.normal(jax.random.key(2), (3, 7)), jnp.array([True, False, True])
    policy, value, _ = network.apply(network.init(jax.random.key(3), *inputs), *inputs)
    assert policy.shape == (3, 5)
    assert value.shape == (3,)


@pytest.mark.usefixtures('compile_quickly')
def test_plain_jax_flax_and_equinox_learn_the_toy_task_in_under_thirty_lines():
    names = pages.run('docs/jax_flax_equinox.md')
    losses = [float(names[f'{library}_loss']) for library in ('jax', 'flax', 'equinox')]
    assert max(losses) < 0.1, losses  # of 0.69 for a guess
    programs = [text for _, text in pages.blocks('docs/jax_flax_equinox.md') if 'update(' in text]
    assert len(programs) == 3
    assert max(len(text.splitlines()) for text in programs) < 30
    jax.tree.map(np.testing.assert_array_equal, names['core_params'], names['params']['core'])


@pytest.fixture(scope='module')
def agent(compile_quickly):
    """Returns the names of the page with an agent of one's own, after its updates."""
    return pages.run('docs/environments_and_agents.md')


def test_the_agent_of_ones_own_learns_from_what_it_does(agent):
    first = jax.jit(agent['network'].init)(jax.random.key(3), *agent['carry'][1:])
    moved = jax.tree.map(lambda a, b: bool(jnp.any(a != b)), first, agent['params'])
    assert all(jax.tree.leaves(moved))
    assert bool(jnp.isfinite(agent['reward']))


def test_the_agent_of_ones_own_learns_no_values_from_steps_that_truncate(agent, monkeypatch):
    """They lead to the next episode, which has nothing to do with them."""
    levels = dataclasses.replace(agent['levels'], max_steps=1)
    monkeypatch.setitem(agent, 'environment', agent['grid'].AutoReset(levels))
    reset = jax.jit(jax.vmap(agent['environment'].reset))
    carry = *reset(jax.random.split(jax.random.key(5), 32)), agent['memory']
    differentiate = jax.jit(jax.grad(agent['loss'], has_aux=True))
    gradient, _ = differentiate(agent['params'], carry, jax.random.key(6))
    leaves = jax.tree.leaves(gradient)
    assert [float(jnp.abs(leaf).max()) for leaf in leaves if leaf.shape[-1:] == (1,)] == [0, 0]
    assert any(jnp.any(leaf) for leaf in leaves)  # of the entropy


@pytest.mark.usefixtures('compile_quickly')
def test_a_trained_run_is_loaded_queried_streamed_exported_and_served(tmp_path, monkeypatch):
    """The runs are untrained here, of the names and the kinds of those of the page."""
    inspected.lm_run(tmp_path / 'lm')
    runs = {'lm-pydoc': tmp_path / 'lm' / 'run'}
    runs['mini_pacman'], _ = untrained_runs.agent(tmp_path / 'agent')
    runs['nth_farthest'], _ = untrained_runs.questions(tmp_path / 'questions', num_dims=1)
    flags = {'task': 'addition', 'nesting': 1, 'length': 3}
    runs['learning_to_execute-addition'], _ = untrained_runs.programs(
        tmp_path / 'programs', **flags
    )
    (tmp_path / 'runs').mkdir()
    for name, run_dir in runs.items():
        run_dir.rename(tmp_path / 'runs' / f'{name}-rmc')
    monkeypatch.chdir(tmp_path)
    names = pages.run('docs/trained_runs.md')
    assert names['logits'].shape == (len(inspected.WORDS),)
    assert int(names['timestep'].observation.ndim) == 3
    assert names['answer'].shape == (1,)
    assert [len(value) for value in names['values']] == [3, 3]
    ids = [names['run'].encode(word) for word in ('the', 'a')]
    logits, _ = names['run'].logits(np.stack(ids, axis=1))
    np.testing.assert_allclose(names['outputs']['log_probs'], logits[-1], rtol=2e-5)


@pytest.mark.usefixtures('compile_quickly')
def test_the_interventions_in_a_memory_do_what_the_tutorial_says(tmp_path, monkeypatch):
    """Whatever the run has learned; here it has the sizes of the preset and is untrained."""
    monkeypatch.chdir(tmp_path)
    preset = dataclasses.asdict(nth_farthest.PRESETS['cpu'])
    run_dir, _ = untrained_runs.questions(tmp_path / 'questions', **preset)
    (tmp_path / 'runs').mkdir()
    run_dir.rename(tmp_path / 'runs' / 'nth_farthest-rmc')
    smaller = [('2000', '400'), ('num_examples=500', 'num_examples=20'), ('=400', '=15')]
    names = pages.run('docs/tutorial_memory.md', smaller)
    assert names['attention'].shape == (20, 3, 8, 9)
    never, nothing, answer = (names[name] for name in ('never', 'nothing', 'answer'))
    unchanged = answer(never, nothing)
    np.testing.assert_array_equal(unchanged, names['answers'])
    np.testing.assert_array_equal(answer(never.at[0].set(True), nothing), unchanged)
    other = names['other']
    transplanted = answer(never, ~nothing)
    question = other.vectors, other.labels, other.n, other.m
    np.testing.assert_array_equal(transplanted, names['run'].predict(*question))
    state = np.random.default_rng(0).normal(size=(2, 4, 8, 64)).astype(np.float32)
    true, deceived = names['step'], names['step_deceived']
    now = names['inputs'][0, :4]
    np.testing.assert_allclose(deceived(now, state[0], state[0]), true(now, state[0]), atol=1e-5)
    slot_2 = np.where(np.arange(8)[:, None] == 2, state[0], state[1])
    changed = deceived(now, *state)[:, 2]
    np.testing.assert_allclose(changed, true(now, slot_2)[:, 2], atol=1e-5)


@pytest.mark.slow
def test_a_trained_memory_compares_by_attention_between_its_slots(tmp_path, monkeypatch):
    """The claims of the tutorial, on the whole training, which another machine rounds otherwise."""
    monkeypatch.chdir(tmp_path)
    command = [sys.executable, '-m', 'launch.nth_farthest']
    subprocess.run(command, check=True, env={**os.environ, 'PYTHONPATH': str(ROOT)})
    names = pages.run('docs/tutorial_memory.md')
    accuracy = {steps: np.array(shares) for steps, shares in names['accuracy'].items()}
    assert min(accuracy['never']) > 0.9
    np.testing.assert_array_equal(accuracy['step 1'], accuracy['never'])
    assert max(accuracy['all'][:2]) < min(accuracy['never'][:2]) - 0.05
    assert accuracy['all'][2] > 0.99
    assert names['kept'][0] > 0.9 > 0.8 > names['kept'][4] > 0.2 > 0.1 > names['kept'][8]


OWN_MODEL = 'docs/tutorial_own_model.md'


@pytest.mark.usefixtures('compile_quickly')
def test_a_model_of_ones_own_learns_and_continues_from_its_checkpoint(tmp_path, monkeypatch):
    """On logs of one or two assignments, which take fewer updates."""
    monkeypatch.chdir(tmp_path)
    smaller = [('longest=9', 'longest=2'), ('20_000', '2_000'), ('until=600', 'until=300')]
    smaller += [('(lstm, optimizer), until=800', '(lstm, optimizer), until=20')]
    smaller += [('until=800', 'until=400'), ('(2, 4, 6, 8, 10)', '(2, 3)')]
    names = pages.run(OWN_MODEL, smaller)
    assert names['accuracy'] > 0.9
    assert all(jax.tree.leaves(names['same']))
    assert int(names['restored']['updates']) == 400
    np.testing.assert_array_equal(*names['logits'])  # whatever the padding holds


@pytest.mark.slow
def test_a_model_of_ones_own_learns_what_the_tutorial_says(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    names = pages.run(OWN_MODEL)
    assert names['accuracy'] > 0.97
    assert names['accuracy_long'] > 0.9
    assert names['lstm_accuracy'] > 0.9
    assert all(jax.tree.leaves(names['same']))


def test_the_code_of_every_page_is_run_here():
    with_code = {page for page in PAGES if 'python' in dict(pages.blocks(page))}
    assert with_code == {
        'README.md',
        'docs/core.md',
        'docs/environments_and_agents.md',
        'docs/jax_flax_equinox.md',
        'docs/trained_runs.md',
        'docs/tutorial_agent.md',
        'docs/tutorial_memory.md',
        OWN_MODEL,
    }


@pytest.mark.parametrize(('page', 'command'), COMMANDS)
def test_commands_are_ones_that_the_programs_take(page, command):
    del page  # for the test's name
    program, _, config = _parse(command)
    if program == 'sweep' and config.mode == 'run':
        settings = grid.parse(config.arguments)
        grid.check(settings, grid.load_program(settings.program))


def test_no_two_trainings_and_no_two_sweeps_of_the_pages_share_a_folder():
    """Of other settings: who runs all commands as they are printed has none that is refused."""
    settings = {}
    for page, command in COMMANDS:
        program, module, config = _parse(command)
        if program == 'sweep' and config.mode == 'run':
            folder, own = config.sweep_dir, {'arguments': sorted(config.arguments)}
        elif hasattr(module, 'EXPERIMENT') and config.mode == 'train':
            folder = config.run_dir or experiment.default_directory(module.EXPERIMENT, config)
            own = {
                name: getattr(config, name)
                for name, kind in flags.on_resume(config).items()
                if kind in ('fixed', 'warn') and name != 'num_steps'
            }
        else:
            continue
        other_page, other = settings.setdefault(folder, (page, own))
        assert own == other, f'{page} and {other_page}: {folder}'


def test_the_readme_and_the_pages_name_every_program():
    programs = {f'launch.{path.stem}' for path in (ROOT / 'launch').glob('[!_]*.py')}
    assert programs <= set(re.findall(r'launch\.\w+', README))
    text = ' '.join(text for page, text in PAGES.items() if page.startswith('docs/'))
    assert programs <= set(re.findall(r'python -m (launch\.\w+)', text))


@pytest.mark.parametrize('marker', ['main job', 'tests'])
def test_the_readme_has_one_command_for(marker):
    block = re.search(rf'<!-- {marker} -->\n```\n(.*?)```', README, re.DOTALL)
    assert block
    assert len(block[1].splitlines()) == 1
    assert block[1].startswith('python3 -m venv ')


def test_the_readme_is_short():
    assert len(README.splitlines()) <= 190


@pytest.mark.parametrize('page', PAGES)
def test_links_and_pictures_exist(page):
    targets = re.findall(r'\]\(([^)#]+)(?:#[^)]*)?\)', PAGES[page])
    local = [target for target in targets if not target.startswith('https://')]
    missing = [target for target in local if not (ROOT / page).parent.joinpath(target).exists()]
    assert not missing


def test_every_picture_is_shown_on_a_page():
    pictures = {path.name for path in ROOT.glob('docs/**/*') if path.suffix in ('.png', '.gif')}
    shown = re.findall(r'!\[[^\]]+\]\([^)]*?([^/)]+)\)', ' '.join(PAGES.values()))
    assert pictures == set(shown)


@pytest.mark.parametrize('package', ['relational_rnn', 'tasks'])
def test_the_api_reference_lists_every_module(package):
    paths = (path.relative_to(ROOT).with_suffix('') for path in (ROOT / package).rglob('*.py'))
    modules = {'.'.join(path.parts) for path in paths if path.name != '__init__'}
    listed = re.findall(r'^::: (\S+)$', PAGES[f'docs/api/{package}.md'], re.MULTILINE)
    assert set(listed) == modules
    assert len(listed) == len(modules)


def test_indented_lines_of_docstrings_become_code_but_sections_and_lists_stay():
    pytest.importorskip('griffe')
    spec = importlib.util.spec_from_file_location('literal_blocks', ROOT / 'docs/literal_blocks.py')
    literal_blocks = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(literal_blocks)
    text = 'The rule, in short:\n  a = b\n    c\n\n- item\n  more of it\n\nArgs:\n  x: [T].\n\n  y'
    wanted = text.replace('\n  a = b\n    c', '\n\n    a = b\n      c')
    assert literal_blocks.indent_literals(text) == wanted
