"""The programs in a model's replies."""
