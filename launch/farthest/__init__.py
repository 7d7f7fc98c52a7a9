"""What Nth Farthest is made of: flags, network and losses, auxiliary targets, smaller tasks."""
