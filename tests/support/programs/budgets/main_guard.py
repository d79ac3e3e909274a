import asyncio
import json

from tools.finance import get_team_budget


async def fetch_budget(team_id: str, year: int) -> dict:
    """Fetch one budget and add what remains of it."""
    budget = await get_team_budget(team_id, year, True)
    return {**budget, "remaining": budget["allocated"] - budget["spent"]}


async def main():
    results = await asyncio.gather(
        fetch_budget("eng-1", 2023),
        fetch_budget("eng-1", 2024),
        fetch_budget("ops-1", 2024),
    )
    over_budget = [r for r in results if r["remaining"] < 0]
    print(json.dumps({"checked": len(results), "over_budget": over_budget}, indent=2, sort_keys=True))


if __name__ == "__main__":
    asyncio.run(main())
