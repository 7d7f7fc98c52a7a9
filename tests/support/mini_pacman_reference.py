"""Mini PacMan in plain Python, with rows and columns and one thing after the other."""

import copy

import numpy as np

# 1 is wall.
MAZE = [
    '1111111111111111111',
    '1000100000000010001',
    '1010101111111010101',
    '1000000000000000001',
    '1010101111111010101',
    '1010000000000000101',
    '1011110111110111101',
    '1000000111110000001',
    '1011110111110111101',
    '1010000000000000101',
    '1010101111111010101',
    '1000000000000000001',
    '1010101111111010101',
    '1000100000000010001',
    '1111111111111111111',
]
HEIGHT, WIDTH = 15, 19
OPEN = [(r, c) for r in range(HEIGHT) for c in range(WIDTH) if MAZE[r][c] == '0']
ACTIONS = [(0, 0), (0, 1), (-1, 0), (0, -1), (1, 0)]
MODES = {  # step, food, pill, ghost, killed
    'regular': (0, 1, 2, 5, 0),
    'avoid': (0.1, -0.1, -5, -10, -20),
    'hunt': (0, 0, 1, 10, -20),
    'ambush': (0, -0.1, 0, 10, -20),
    'rush': (0, -0.1, 10, 0, 0),
}
LIMITS = {'avoid': 128, 'hunt': 80, 'ambush': 80}


def add(a, b):
    return a[0] + b[0], a[1] + b[1]


def is_wall(square):
    return MAZE[square[0]][square[1]] == '1'


def square_of(number):
    return None if number == HEIGHT * WIDTH else divmod(int(number), WIDTH)


class Game:
    """One game; directions of ghosts are 0 to 3 for right, up, left, down, 4 and 5 as released."""

    def __init__(self, rules, mode):
        self.rules, self.mode = rules, mode
        self.steps, self.score = 0, np.float32(0)

    @classmethod
    def of(cls, rules, mode, state):
        """The game of a state of `mini_pacman`."""
        game = cls(rules, mode)
        game.food = {(int(r), int(c)) for r, c in np.argwhere(state.food)}
        game.pills = [square_of(n) for n in state.pills]
        game.pacman = square_of(state.pacman)
        game.ghosts = [square_of(n) for n in state.ghosts]
        game.looks = [int(n) for n in state.directions]
        game.power, game.level, game.timer = int(state.power), int(state.level), int(state.timer)
        game.steps, game.score = int(state.steps), np.float32(state.score)
        return game

    def facts(self):
        facts = copy.copy(vars(self))
        facts['looks'] = [
            look for look, ghost in zip(self.looks, self.ghosts, strict=True) if ghost
        ]
        return facts

    def begin_level(self, level, words):
        words = [int(word) for word in words]
        self.level, self.timer, self.power = level, 0, 0
        self.food = set(OPEN)
        if self.rules == 'paper':
            row = list(OPEN)
            for n, word in enumerate(words[:11]):
                place = n + word % (138 - n)
                row[n], row[place] = row[place], row[n]
            self.pacman, self.pills, self.ghosts = row[0], row[1:3], row[3:11]
        else:
            self.pacman, *self.pills = (OPEN[word % 138] for word in words[:3])
            far = [square for square in OPEN if not self.is_near(square)]
            self.ghosts = [far[word % len(far)] for word in words[3:11]]
        count = min(1 + (level - 1) // 2, 8)
        self.ghosts = [g if i < count else None for i, g in enumerate(self.ghosts)]
        drawn = [words[11] // 4**i % 4 for i in range(8)]
        # What the released code draws as 0 to 3 it reads as 2 to 5, from right on.
        self.looks = drawn if self.rules == 'paper' else [(4, 5, 0, 1)[look] for look in drawn]

    def is_near(self, square):
        (r, c), (row, column) = self.pacman, square
        return row in range(r - 5, r + 5) and column in range(c - 5, c + 5)

    def step(self, action, words):
        """Returns the reward and whether Pacman died."""
        level_words, ghost_words = words[:12], words[12:]
        had_power = self.power > 0
        self.timer, self.steps = self.timer + 1, self.steps + 1
        self.power = max(self.power - 1, 0)
        start, ate, pills = self.pacman, 0, 0
        path = [start]
        for _ in range(2 if self.rules == 'paper' and had_power else 1):
            there = add(self.pacman, ACTIONS[action])
            self.pacman = self.pacman if is_wall(there) else there
            path.append(self.pacman)
            ate += self.eat_food()
            pills += self.eat_pills()
        powered = self.power > 0 or (self.rules == 'paper' and had_power)

        over = self.is_cleared_by_eating()
        killed, hunted = False, 0
        if not over:
            move = self.move_paper if self.rules == 'paper' else self.move_released
            killed, hunted = move(path, powered, ghost_words)
        over = over or (self.mode in ('hunt', 'ambush') and not any(self.ghosts))
        timed = self.rules == 'paper' or self.mode == 'avoid'
        over = over or (timed and self.timer == LIMITS.get(self.mode))
        reward = np.float32(MODES[self.mode][0])
        for count, worth in zip((ate, pills, hunted, killed), MODES[self.mode][1:], strict=True):
            reward += np.float32(count * np.float32(worth))
        self.score += reward
        if over and not killed:
            self.begin_level(self.level + 1, level_words)
        return reward, killed

    def is_cleared_by_eating(self):
        if self.mode == 'rush':
            return not any(self.pills)
        by_food = ('regular',) if self.rules == 'paper' else ('regular', 'avoid')
        return self.mode in by_food and not self.food

    def eat_food(self):
        there = self.pacman in self.food
        self.food.discard(self.pacman)
        return there

    def eat_pills(self):
        if self.pacman not in self.pills:
            return 0
        self.pills[self.pills.index(self.pacman)] = None  # one, if two lie there
        self.power = {'paper': 19, 'released': 20}[self.rules]
        return 1

    def move_paper(self, path, powered, words):
        del words
        killed, hunted = False, 0
        for i, ghost in enumerate(self.ghosts):
            if ghost is None:
                continue
            self.looks[i] = self.choose(ghost, self.looks[i], powered, None)
            self.ghosts[i] = add(ghost, ACTIONS[1 + self.looks[i]])
            passes = any(path[n : n + 2] == [self.ghosts[i], ghost] for n in range(len(path) - 1))
            if self.ghosts[i] == self.pacman or passes:
                if powered:
                    self.ghosts[i], hunted = None, hunted + 1
                else:
                    killed = True
        return killed, hunted

    def move_released(self, path, powered, words):
        del path
        killed = False
        for i, ghost in enumerate(self.ghosts):
            if ghost is None:
                continue
            if ghost == self.pacman:
                if powered:
                    self.ghosts[i] = None
                    return killed, 1
                killed = True
            word = int(words[i])
            speed = min(0.4 + 0.1 * self.level, 1) / (2 if powered else 1)
            if word % 4096 >= round(round(4096 * speed, 6)):
                continue
            stray = word // 4096 % 4096 < 205 and not powered
            self.looks[i] = self.choose(
                ghost, self.looks[i], powered, word >> 24 if stray else None
            )
            self.ghosts[i] = add(ghost, ACTIONS[1 + self.looks[i]])
            if self.ghosts[i] == self.pacman:
                if powered:
                    self.ghosts[i] = None
                    return killed, 1
                killed = True
        return killed, 0

    def choose(self, ghost, look, flees, stray):
        """The way a ghost goes."""
        back = (2, 3, 0, 1, 0, 1)[look]
        allowed = [way for way in range(4) if not is_wall(add(ghost, ACTIONS[1 + way]))]
        if len(allowed) == 2:
            if look in allowed:
                return look
            return allowed[1] if allowed[0] == back else allowed[0]
        allowed = [way for way in allowed if way != back]
        if stray is not None:
            return allowed[stray * len(allowed) // 256]
        to = np.subtract(self.pacman, ghost)
        length = np.linalg.norm(to)
        products = [np.dot(to / max(length, 1), ACTIONS[1 + way]) for way in allowed]
        return allowed[int(np.argmin(products) if flees else np.argmax(products))]
