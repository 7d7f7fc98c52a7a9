"""States of Mini PacMan that are set by hand, or at random so that much happens soon."""

import numpy as np

from tasks.environments.mini_pacman import levels
from tasks.environments.mini_pacman import rules as rules_lib
from tests.support import mini_pacman_reference as reference

DIRECTIONS = ('right', 'up', 'left', 'down', 'not right', 'not up')
STEADY = np.uint32(4095 << 12)  # a released ghost that gets this word moves, and does not stray


def number(square):
    return levels.NOWHERE if square is None else levels.WIDTH * square[0] + square[1]


def place(
    pacman, ghosts=(), pills=(), food=((13, 1),), power=0, level=1, timer=0, steps=0, score=0
):
    """A state; ghosts are pairs of a square and a direction's name. One piece of food is far."""
    plate = np.zeros((levels.HEIGHT, levels.WIDTH), bool)
    for square in food:
        plate[square] = True
    missing = levels.MAX_GHOSTS - len(ghosts)
    squares = [number(square) for square, _ in ghosts] + missing * [levels.NOWHERE]
    looks = [DIRECTIONS.index(look) for _, look in ghosts] + missing * [0]
    pills = [number(square) for square in (*pills, None, None)[: levels.NUM_PILLS]]
    return rules_lib.State(
        plate,
        *(np.array(x, np.int32) for x in (plate.sum(), pills, number(pacman), squares, looks)),
        *(np.array(x, np.int32) for x in (power, level, timer, steps)),
        np.float32(score),
        np.uint32(0),  # no key: what is random is given
    )


def scatter(rules, mode, random):
    """A state near to the next event: ghosts not far, little left to eat, time nearly up."""
    level = int(random.integers(1, 17))
    pacman = reference.OPEN[random.integers(138)]
    near = [s for s in reference.OPEN if sum(abs(np.subtract(s, pacman))) < 4 and s != pacman]

    def pick():
        squares = near if random.random() < 0.4 else reference.OPEN
        return squares[random.integers(len(squares))]

    names = DIRECTIONS[: 4 if rules == 'paper' else 6]
    number_of_ghosts = random.integers(1, min(1 + (level - 1) // 2, 8) + 1)
    ghosts = [(pick(), names[random.integers(len(names))]) for _ in range(number_of_ghosts)]
    pills = [pick() if random.random() < 0.7 else None for _ in range(2)]
    if rules == 'paper' and pills[0] == pills[1]:
        pills = [None, pick()]  # on different squares by these rules
    food = {near[random.integers(len(near))]}
    if random.random() < 0.5:
        food = {pacman, *(s for s in reference.OPEN if random.random() < 0.5)}
    power = random.integers(0, 20) if random.random() < 0.5 else 0
    timer = reference.LIMITS.get(mode, 300) - random.integers(1, 9)
    return place(pacman, ghosts, pills, food, power, level, timer, 40, score=7)
