"""A look into the memory of a trained run."""
