"""What things are called in titles and on the axes of pictures."""

X_LABELS = {
    'steps': 'updates',
    'minutes': 'minutes of training, without compiling',
    'hours': 'hours of training, without compiling',
    'frames': 'environment steps',
}


DATASETS = {
    'pydoc': "Python's documentation",
    'gutenberg': 'Project Gutenberg',
    'gigaword': 'Gigaword headlines',
    'lm1b': 'One Billion Word',
    'pg19': 'PG-19',
    'wikitext103': 'WikiText-103',
}


def span(least: int, most: int, name: str, plural: str) -> str:
    """Returns how many of something there are: '1 to 5 boxes', '1 box', 'no boxes'."""
    if least != most:
        return f'{least} to {most} {plural}'
    return f'{least or "no"} {name if least == 1 else plural}'


def flag_name(flag: str) -> str:
    """Returns what a flag is called in legends: 'heads' of `num_heads`, 'slots' of `mem_slots`."""
    return flag.removeprefix('num_').removeprefix('mem_').replace('_', ' ')


def axis_name(column: str) -> str:
    """Returns what an axis calls a column of `metrics.jsonl`."""
    names = {
        'return': 'episode return',
        'success': 'share of episodes with success',
        'character_accuracy': 'accuracy per character',
    }
    return names.get(column, column.replace('valid_', 'validation ').replace('_', ' '))
