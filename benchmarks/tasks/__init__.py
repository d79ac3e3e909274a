"""Tasks for a model: questions over tools whose answers are computed from the data.

Four domains; `library` is held out: nothing is tuned on it. Each task is judged by the values of its
answer and by what it changed, and has a program that answers it, which the tests run.
"""

from __future__ import annotations

from benchmarks.tasks.base import SHAPES, Domain, Effect, Task, Verdict, World
from benchmarks.tasks.company import COMPANY
from benchmarks.tasks.library import LIBRARY
from benchmarks.tasks.servers import SERVERS_DOMAIN
from benchmarks.tasks.shop import SHOP

DOMAINS = {domain.name: domain for domain in (COMPANY, SHOP, SERVERS_DOMAIN, LIBRARY)}

__all__ = ["DOMAINS", "SHAPES", "Domain", "Effect", "Task", "Verdict", "World"]
