"""Many tools: how large the prompt is, how well tools are found, and what it costs.

    python -m benchmarks.many_tools [--tools 500] [--questions]

The tools and the questions are those of the tests: a company with 500 tools in 20 domains. With more
than 500, further domains of the same tools are added under other names, for times and memory only.
`--questions` shows the questions whose tool does not come first.
"""

from __future__ import annotations

import argparse
import statistics
import time
import tracemalloc
from collections.abc import Callable

from langchain_core.tools import BaseTool

from langchain_ptc.catalog.catalog import ToolCatalog
from langchain_ptc.catalog.stubs import TIERS
from langchain_ptc.prompts import count_roughly
from langchain_ptc.tool import as_programmatic
from tests.support.company_tools import HELD_OUT, QUESTIONS, build_tools, read_questions

BUDGETS = (1_000, 2_000, 5_000, 10_000, 20_000)


def grow(count: int) -> dict[str, list[BaseTool]]:
    """Return so many tools by domain."""
    grown: dict[str, list[BaseTool]] = {}
    left, turn = count, 0
    while left > 0:
        for domain, tools in build_tools().items():
            taken = tools[: max(left, 0)]
            if taken:
                grown[domain if not turn else f"{domain}_{turn}"] = list(taken)
            left -= len(taken)
        turn += 1
    return grown


def time_of(work: Callable[[], object], *, times: int = 5) -> float:
    """Return the median time of `work` in milliseconds."""
    taken = []
    for _ in range(times):
        start = time.perf_counter()
        work()
        taken.append((time.perf_counter() - start) * 1_000)
    return statistics.median(taken)


def report_costs(tools: dict[str, list[BaseTool]]) -> None:
    """Print what a catalog of these tools costs."""
    count = sum(map(len, tools.values()))
    print(f"\n{count:,} tools in {len(tools)} domains")
    print(f"  build the catalog    {time_of(lambda: ToolCatalog(tools)):8.1f} ms")
    for tier in TIERS:
        fresh = [ToolCatalog(tools) for _ in range(5)]
        taken = time_of(lambda: fresh.pop().render(tier))  # noqa: B023  # called at once
        size = len(ToolCatalog(tools).render(tier))
        print(f"  render {tier:<12}  {taken:8.1f} ms  {size:10,} characters")
    fresh = [ToolCatalog(tools) for _ in range(5)]
    print(f"  first search         {time_of(lambda: fresh.pop().search('x')):8.1f} ms")
    catalog = ToolCatalog(tools)
    catalog.search("x")
    asked = [question for question, _ in read_questions(QUESTIONS)]
    taken = time_of(lambda: [catalog.search(question) for question in asked]) / len(asked)
    print(f"  each further search  {taken:8.1f} ms")
    tracemalloc.start()
    held = ToolCatalog(tools)
    built = tracemalloc.get_traced_memory()[0]
    held.render()
    held.search("x")
    whole = tracemalloc.get_traced_memory()[0]
    tracemalloc.stop()
    index = held._index._database.execute(
        "SELECT page_count * page_size FROM pragma_page_count, pragma_page_size"
    ).fetchone()[0]
    print(
        f"  memory               {built / 2**20:8.1f} MiB, with text and index "
        f"{(whole + index) / 2**20:.1f} MiB"
    )


def report_prompts(tools: dict[str, list[BaseTool]]) -> None:
    """Print what the model is shown within several budgets."""
    print("\nprompt_tokens   characters   tokens/4")
    for budget in (*BUDGETS, None):
        (run_code,) = as_programmatic(tools, prompt_tokens=budget)
        text = run_code.description
        print(f"{budget or 'None':>13}   {len(text):>10,}   {count_roughly(text):>8,}")


def report_finds(catalog: ToolCatalog, *, show: bool) -> None:
    """Print how well tools are found."""
    print("\nfound among the first     1      5     10   questions")
    for name, text in (("at hand", QUESTIONS), ("held out", HELD_OUT)):
        pairs = read_questions(text)
        ranks = []
        for question, wanted in pairs:
            found = [d.qualified_name for d in catalog.search(question, limit=len(catalog))]
            rank = found.index(wanted) + 1 if wanted in found else len(catalog)
            ranks.append(rank)
            if show and rank > 1:
                print(f"    {rank:4}  {question!r}: {wanted}, first {found[:1]}")
        shares = [sum(rank <= most for rank in ranks) / len(ranks) for most in (1, 5, 10)]
        told = "  ".join(f"{share:5.0%}" for share in shares)
        print(f"  {name:<18}  {told}   {len(pairs):>9}")


def main() -> None:
    """Print the report."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--tools", type=int, default=500)
    parser.add_argument("--questions", action="store_true")
    options = parser.parse_args()
    company = grow(500)
    report_finds(ToolCatalog(company), show=options.questions)
    report_prompts(company)
    report_costs(company)
    if options.tools != 500:
        report_costs(grow(options.tools))


if __name__ == "__main__":
    main()
