"""HOW a LangGraph program uses it."""
