from tools.workflow import assign_task, parallel_execute, get_task_status, resolve_blocker, aggregate_results

plan = [
    ("backend-dev", "TASK-001", "Schema", []),
    ("backend-dev", "TASK-002", "Endpoints", ["TASK-001"]),
    ("frontend-dev", "TASK-003", "Forms", ["TASK-002"]),
    ("qa", "TASK-004", "Tests", ["TASK-002", "TASK-003"]),
]
for agent, task_id, description, deps in plan:
    assign_task(agent, task_id, description, dependencies=deps)

pending = [task_id for _, task_id, *_ in plan]
rounds = 0
while pending and (rounds := rounds + 1) < 10:
    states = {r["task_id"]: r["status"] for r in parallel_execute(pending)}
    print(f"round {rounds}: {states}")
    pending = [t for t in pending if states[t] != "done"]
    if pending:
        resolve_blocker(pending[0], "dependencies are done")

print(aggregate_results([task_id for _, task_id, _, _ in plan]))
