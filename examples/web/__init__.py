"""A web service: an agent that runs code, for many users, in a page that shows what the code does.

`make web` starts it, or `python -m examples.web`. Its parts:

- `agent`: the agent that is served, with a scripted model or a real one;
- `log`: what happened in each conversation, in SQLite;
- `runs`: runs of the agent in the background, one at a time in each conversation;
- `app`: the HTTP interface;
- `page.html`: the page; it loads nothing else.

`log`, `runs`, `app` and `page.html` serve any agent: copy them. It needs the dependency groups `demo`
and `web` of `pyproject.toml`. See `docs/web-service.md`.
"""
