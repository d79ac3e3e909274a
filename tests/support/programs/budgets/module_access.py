import tools
import statistics

budgets = [await tools.finance.get_team_budget(team_id=t) for t in ["eng-1", "eng-2", "mkt-1", "ops-1"]]
spent = [b["spent"] for b in budgets]
print("mean:", statistics.mean(spent))
print("median:", statistics.median(spent))
print("stdev: %.2f" % statistics.stdev(spent))
without = await tools.finance.get_team_budget(team_id="eng-1", include_spent=False)
print("spent" in without, without["spent"])
