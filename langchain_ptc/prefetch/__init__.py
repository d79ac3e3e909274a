"""Calls that begin before the program runs: what of an unfinished code is known, and what it reads."""
