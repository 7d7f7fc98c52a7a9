"""What the axes of pictures are called."""

X_LABELS = {
    'steps': 'updates',
    'minutes': 'minutes of training, without compiling',
    'hours': 'hours of training, without compiling',
    'frames': 'environment steps',
}


def axis_name(column: str) -> str:
    """Returns what an axis calls a column of `metrics.jsonl`."""
    names = {'return': 'episode return', 'success': 'share of episodes with success'}
    return names.get(column, column.replace('valid_', 'validation ').replace('_', ' '))
