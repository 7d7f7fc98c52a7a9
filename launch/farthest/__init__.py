"""What Nth Farthest is trained with beside its answers: auxiliary losses, smaller tasks."""
