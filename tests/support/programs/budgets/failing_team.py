from tools.finance import get_team_budget

found, missing = {}, []
for team in ("eng-1", "legal-1", "mkt-1", "x"):
    try:
        budget = await get_team_budget(team_id=team)
    except Exception as e:
        missing.append(team)
        print(f"Could not fetch {team}:", "unknown team" if "no team has the id" in str(e) else e)
        continue
    else:
        found[team] = budget
    finally:
        print("checked", team)

print()
print(f"{'Team':<15}{'Allocated':>15}{'Spent':>15}{'Used':>8}")
print("-" * 53)
for team, b in sorted(found.items(), key=lambda kv: kv[1]["spent"], reverse=True):
    print(f"{b['team_name']:<15}{b['allocated']:>15,.2f}{b['spent']:>15,.2f}{b['spent'] / b['allocated']:>8.1%}")
print(f"{missing=}")
