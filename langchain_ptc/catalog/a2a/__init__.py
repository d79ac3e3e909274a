"""Agents that are reached over A2A."""
