"""What Learning to Execute is made of: flags, network and loss."""
