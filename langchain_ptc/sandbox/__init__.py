"""WHERE the code runs. Imports nothing of LangChain, LangGraph or pydantic."""
