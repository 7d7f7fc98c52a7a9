"""Tables as files, CSV and Markdown, in which every row names the runs that it is about."""

from collections.abc import Mapping, Sequence
import csv
import io
import pathlib
from typing import Any

from tasks import storage

Row = Mapping[str, Any]  # cells by the name of the column
_COLUMNS = ('run_directory', 'seeds', 'revision', 'host', 'devices', 'date', 'command')
_NONE = 'not recorded'


def trace(folder: pathlib.Path, description: Mapping[str, Any]) -> dict[str, str]:
    """Returns where the numbers of a run come from.

    Args:
      folder: the run's directory.
      description: its `run.json`.
    """
    starts = description.get('starts') or []
    found = {'run_directory': str(folder), 'seeds': str(_seed(description))}
    found['revision'] = _join([_revision(start) for start in starts])
    for name in _COLUMNS[3:]:
        found[name] = _join([str(start.get(name) or _NONE) for start in starts])
    return found


def merge(traces: Sequence[Mapping[str, str]]) -> dict[str, str]:
    """Returns where numbers come from that are of several runs."""
    return {name: _join([each[name] for each in traces]) for name in _COLUMNS}


def write_csv(path: pathlib.Path, rows: Sequence[Row]) -> None:
    """Writes rows with equal columns, one at least; None is an empty cell."""
    text = io.StringIO()
    writer = csv.DictWriter(text, list(rows[0]), lineterminator='\n')
    writer.writeheader()
    writer.writerows(rows)
    storage.write_text(path, text.getvalue())


def markdown(rows: Sequence[Sequence[str]]) -> str:
    """Returns a table in Markdown: the header, then rows of as many cells."""
    header, *body = [[_escape(cell) for cell in row] for row in rows]
    rule = ['---', *['---:'] * (len(header) - 1)]
    return ''.join(f'| {" | ".join(row)} |\n' for row in (header, rule, *body))


def markdown_traces(labels: Sequence[str], traces: Sequence[Mapping[str, str]]) -> str:
    """Returns a list in Markdown of where the numbers of runs come from.

    Args:
      labels: what each run is called in the tables.
      traces: of each run, as from `trace`.
    """
    lines = ['## Where the numbers come from\n']
    for label, each in zip(labels, traces, strict=True):
        facts = f'seed {each["seeds"]}, revision {each["revision"]}, on {each["host"]}'
        lines.append(f'- {_escape(label)}: `{each["run_directory"]}`, {facts}')
        lines[-1] += f' ({each["devices"]}), {each["date"]}:'
        lines.append(f'  `{each["command"]}`')
    return '\n'.join(lines) + '\n'


def _seed(description: Mapping[str, Any]) -> Any:
    return description.get('config', {}).get('seed', _NONE)


def _revision(start: Mapping[str, Any]) -> str:
    revision = start.get('revision')
    return (
        f'{str(revision)[:12]}{" (changed)" if start.get("changed") else ""}' if revision else _NONE
    )


def _join(values: Sequence[str]) -> str:
    """Returns different values in their order."""
    return '; '.join(dict.fromkeys(values)) or _NONE


def _escape(cell: str) -> str:
    return cell.replace('|', r'\|')
