"""Mini PacMan: a maze, ghosts, pills."""
