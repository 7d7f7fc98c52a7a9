"""Where the numbers of a run come from."""

import datetime
import importlib.metadata
import socket
import subprocess
import sys

from launch.runs import provenance


def _git(folder, *words):
    name = ('-c', 'user.name=a', '-c', 'user.email=a@example.org')
    command = ['git', '-C', str(folder), *name, *words]
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout.strip()


def test_a_record_names_command_versions_machine_and_date(monkeypatch):
    words = ['/usr/bin/python3.11', '-m', 'launch.lm', '--run_dir=a b']
    monkeypatch.setattr(sys, 'orig_argv', words)
    record = provenance.record('2 x cpu', 40)
    assert record['command'] == "python -m launch.lm '--run_dir=a b'"
    assert record['versions']['jaxlib'] == importlib.metadata.version('jaxlib')
    assert (record['step'], record['devices'], record['host']) == (
        40,
        '2 x cpu',
        socket.gethostname(),
    )
    age = datetime.datetime.now(datetime.UTC) - datetime.datetime.fromisoformat(record['date'])
    assert 0 <= age.total_seconds() < 60


def test_the_revision_is_that_of_the_checkout_and_says_whether_it_was_changed(tmp_path):
    folder = tmp_path / 'package'
    folder.mkdir()
    (folder / 'a.py').write_text('1')
    unknown = {'revision': None, 'changed': None}
    assert provenance.revision(folder) == unknown
    _git(tmp_path, 'init')
    _git(tmp_path, 'add', '.')
    _git(tmp_path, 'commit', '-m', 'a')
    head = _git(tmp_path, 'rev-parse', 'HEAD')
    (folder / 'new.txt').write_text('not known to git')
    assert provenance.revision(folder) == {'revision': head, 'changed': False}
    (folder / 'a.py').write_text('2')
    assert provenance.revision(folder) == {'revision': head, 'changed': True}
    installed = tmp_path / 'lib'  # in a virtual environment inside somebody's repository
    installed.mkdir()
    (installed / 'a.py').write_text('1')
    assert provenance.revision(installed) == unknown


def test_without_git_there_is_no_revision(tmp_path, monkeypatch):
    monkeypatch.setenv('PATH', str(tmp_path))
    assert provenance.revision(tmp_path) == {'revision': None, 'changed': None}
