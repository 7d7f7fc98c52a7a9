"""Speed of unrolls and environments."""
