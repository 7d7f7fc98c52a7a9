"""BoxWorld in plain Python, without the grid of codes, and searches through its levels."""

import collections

import numpy as np

MOVES = {'up': (-1, 0), 'down': (1, 0), 'left': (0, -1), 'right': (0, 1)}
DARK, LIGHT, BLACK, WHITE = (np.full(3, grey, np.float32) for grey in (0.5, 0.8, 0, 1))


class Game:
    """A game of a level: a grid as numbers, of which only this constructor knows the meaning."""

    def __init__(self, grid, position, num_colors):
        self.size = len(grid) - 2
        self.position = tuple(int(x) for x in position)
        self.held = None  # a colour
        self.contents, self.locks, self.distractors = {}, {}, set()
        for row in range(1, self.size + 1):
            for column in range(1, self.size + 1):
                code = int(grid[row][column])
                if code == 2:
                    self.contents[row, column] = 'gem'
                if code < 3:
                    continue
                kind, color = divmod(code - 3, num_colors)
                if kind == 0:
                    self.contents[row, column] = color
                else:
                    self.locks[row, column] = color
                if kind == 2:
                    self.distractors.add((row, column))

    def copy(self):
        twin = object.__new__(Game)
        twin.__dict__ = {**self.__dict__, 'contents': {**self.contents}, 'locks': {**self.locks}}
        return twin

    def state(self):
        return self.position, self.held, frozenset(self.contents), frozenset(self.locks)

    def may_enter(self, square):
        row, column = square
        if not (1 <= row <= self.size and 1 <= column <= self.size):
            return False
        if square in self.locks:
            return self.locks[square] == self.held
        return not (square in self.contents and (row, column + 1) in self.locks)

    def move(self, name):
        """Returns the reward, and whether the episode has come to its end."""
        target = tuple(x + step for x, step in zip(self.position, MOVES[name], strict=True))
        if not self.may_enter(target):
            return 0, False
        self.position = target
        if target in self.locks:
            del self.locks[target]
            self.held = None
            return (-1, True) if target in self.distractors else (1, False)
        if target in self.contents:
            self.held = self.contents.pop(target)
            if self.held == 'gem':
                return 10, True
        return 0, False

    def picture(self, colors):
        """The whole with its walls."""
        squares = np.zeros((self.size + 2, self.size + 2, 3), np.float32)
        for row in range(1, self.size + 1):
            for column in range(1, self.size + 1):
                squares[row, column] = LIGHT
        for things in (self.contents, self.locks):
            for square, color in things.items():
                squares[square] = WHITE if color == 'gem' else colors[color]
        squares[self.position] = DARK
        squares[0, 0] = BLACK if self.held is None else colors[self.held]
        return squares

    def window(self, colors, side):
        """What is around the agent, and the colour in hand."""
        whole, seen = self.picture(colors), np.zeros((side, side, 6), np.float32)
        for row in range(side):
            for column in range(side):
                there = self.position[0] + row - side // 2, self.position[1] + column - side // 2
                if all(1 <= x <= self.size for x in there):
                    seen[row, column, :3] = whole[there]
                seen[row, column, 3:] = whole[0, 0]
        return seen


def shortest_solution(game):
    """The first of the shortest ways to the gem that opens no distractor, by breadth-first search.

    It is over all that a game can be: position, key in hand, and what is left of boxes and keys.
    """
    seen, queue = {game.state()}, collections.deque([(game, ())])
    while queue:
        before, names = queue.popleft()
        for name in MOVES:
            after = before.copy()
            reward, ends = after.move(name)
            if reward == 10:
                return [*names, name]
            if not ends and after.state() not in seen:
                seen.add(after.state())
                queue.append((after, (*names, name)))
    return None


def ways_to_the_gem(game, opened=()):
    """All orders in which boxes can be opened up to the gem, were distractors to end nothing."""
    reachable = _reachable(game)
    for square in sorted(reachable):
        if square not in game.contents and square not in game.locks:
            continue
        after = game.copy()
        after.position = square
        order = opened
        if square in game.locks:
            after.held = None
            del after.locks[square]
            order = (*opened, square)
        else:
            after.held = after.contents.pop(square)
        if after.held == 'gem':
            yield order
        else:
            yield from ways_to_the_gem(after, order)


def _reachable(game):
    """All squares that the agent can come to, not walking on through what it takes or opens."""
    found, queue = {game.position}, [game.position]
    while queue:
        row, column = queue.pop()
        for down, right in MOVES.values():
            there = row + down, column + right
            if there not in found and game.may_enter(there):
                found.add(there)
                if there not in game.contents and there not in game.locks:
                    queue.append(there)
    return found
