import asyncio
from tools.hr import get_team_members
from tools.finance import get_expenses


class ExpenseAnalyzer:
    """Collects expenses of a department."""

    def __init__(self, department: str, quarters=("Q1", "Q2")):
        self.department = department
        self.quarters = quarters
        self._cache = {}
        self.calls = 0

    async def load(self):
        self.members = await get_team_members(self.department)
        pairs = [(m["id"], q) for m in self.members for q in self.quarters]
        results = await asyncio.gather(*(self._fetch(*pair) for pair in pairs))
        self._cache.update(zip(pairs, results))
        return self

    async def _fetch(self, user_id, quarter):
        self.calls += 1
        return await get_expenses(user_id=user_id, quarter=quarter)

    def __len__(self):
        return len(self._cache)

    def total(self, *, category=None):
        return sum(
            e["amount"]
            for items in self._cache.values()
            for e in items
            if category is None or e["category"] == category
        )


analyzer = await ExpenseAnalyzer("marketing").load()
print("reports:", len(analyzer), "calls:", analyzer.calls)
print("total:", analyzer.total())
for category in ["travel", "meals", "software", "equipment"]:
    print(f"- {category}: {analyzer.total(category=category)}")
