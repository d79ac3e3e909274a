"""Which examples a catalog gives."""

from __future__ import annotations

from collections import Counter

from langchain_ptc.catalog.catalog import ToolCatalog
from langchain_ptc.catalog.names import RESERVED
from langchain_ptc.prompts.examples.links import find_pair
from langchain_ptc.prompts.examples.pairs import pair_examples
from langchain_ptc.prompts.examples.singles import simple_examples
from langchain_ptc.prompts.examples.tools import Example, ExampleTool

MAX_EXAMPLES = 6
_MAX_SINGLES = 3


def build_examples(catalog: ToolCatalog) -> list[Example]:
    """Return up to six examples over the tools of `catalog`; none for an empty one."""
    names = Counter(definition.name for definition in catalog)
    tools = [ExampleTool(d, is_unique=names[d.name] == 1) for d in catalog]
    # Stable: otherwise in the catalog's order.
    usable = sorted([t for t in tools if t.is_usable], key=lambda tool: not tool.reads)
    taken = RESERVED | set(names) | {word for d in catalog for word in (d.domain or "",)}
    pair = find_pair(usable)
    if pair is not None:
        return list(pair_examples(*pair, usable, taken))[:MAX_EXAMPLES]
    return list(simple_examples(usable[:_MAX_SINGLES], taken))
