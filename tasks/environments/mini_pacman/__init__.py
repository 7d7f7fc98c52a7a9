"""Mini PacMan: a maze, food, pills, ghosts."""

from tasks.environments.mini_pacman import environment, levels, rules

MiniPacman = environment.MiniPacman
State = rules.State
MODES = rules.MODES
RULES = levels.RULES
HEIGHT, WIDTH = levels.HEIGHT, levels.WIDTH
