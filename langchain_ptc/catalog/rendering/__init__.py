"""Definitions -> what a model, an editor and a type checker read."""
