"""A company's expenses: one question, answered by ordinary tool calling and programmatically.

`make demo` runs it, or `python -m examples.company` in the root of the repository. Its parts, each
readable by itself:

- `database`: the tables, made from a seed, and the true answers by SQL;
- `tools`: LangChain tools over that database;
- `models`: the simulated model, once for each way of calling tools, and real ones by name;
- `measuring`: both ways in one agent loop, measured;
- `demo`: all of it from beginning to end;
- `report`: what is printed.

It needs the dependency group `demo` of `pyproject.toml`.
"""
