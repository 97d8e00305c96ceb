"""What the agents of chapters 9 and 10 share."""
