"""BoxWorld: keys, locked boxes, a gem."""
