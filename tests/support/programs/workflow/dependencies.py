# Phase 1: assign
assign_task("backend-dev", "TASK-001", "Build the API", priority="high")
assign_task("frontend-dev", "TASK-002", "Build the login page", dependencies=["TASK-001"])
assign_task("qa", "TASK-003", "Write the end-to-end tests", dependencies=["TASK-001", "TASK-002"])

# Phase 2: run what can run
all_tasks = ["TASK-001", "TASK-002", "TASK-003"]
parallel_execute(all_tasks)

# Phase 3: unblock
blocked = []
for task in all_tasks:
    if get_task_status(task) == "blocked":
        blocked.append(task)
        resolve_blocker(task, resolution=f"{task} may start now")

parallel_execute(blocked)
summary = aggregate_results(all_tasks)

result = {
    "blocked": blocked,
    "summary": summary,
    "all_done": summary.get("done", 0) == len(all_tasks),
}
