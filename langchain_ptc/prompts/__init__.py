"""What a model reads: instructions, descriptions of tools within a token budget, examples."""
