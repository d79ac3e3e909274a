import tools
from tools.shop import fetch_user, fetch_orders

def returns_of(user_id):
    user = fetch_user(user_id)
    returned = fetch_orders(user_id, status="returned")
    if not returned:
        return None
    return {"user": user, "returned": [o["id"] for o in returned], "value": sum(o["total"] for o in returned)}

report = [r for r in map(returns_of, ["7", "20", "33"]) if r]
for entry in report:
    tools.workflow.assign_task("support", f"CALL-{entry['user']['id']}", f"Call {entry['user']['name']}", "low")

open_calls = tools.workflow.aggregate_results([f"CALL-{r['user']['id']}" for r in report])
result = {"report": report, "open_calls": open_calls}
