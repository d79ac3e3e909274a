"""Examples that are more than one file; they are in the repository and not in the package."""
