"""Learning to Execute: programs as text, and batches of them."""
