"""Find the programs in a model's replies."""
