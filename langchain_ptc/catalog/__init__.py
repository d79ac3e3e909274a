"""WHAT the code may call."""
