"""BoxWorld: keys, locked boxes, a gem."""

from tasks.environments.boxworld import environment, levels

BoxWorld = environment.BoxWorld
State = environment.State
Setting = levels.Setting
Level = levels.Level
EMPTY, WALL, GEM, FIRST_KEY = levels.EMPTY, levels.WALL, levels.GEM, levels.FIRST_KEY
key_colors = environment.key_colors
