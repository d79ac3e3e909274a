"""What the results of tools look like, learned from those that came."""
