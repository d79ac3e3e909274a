"""Randomised trials of the journal: programs that are interrupted, resumed elsewhere, and must not notice."""
