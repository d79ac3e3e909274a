errors = []
for task_id, deps in {"A": [], "B": ["A"], "C": ["Z"]}.items():
    try:
        assign_task("dev", task_id, f"Task {task_id}", dependencies=deps)
    except Exception as exc:
        errors.append({"task": task_id, "unknown": "Z" in str(exc)})

result = {"errors": errors, "status": {t: get_task_status(t) for t in ["A", "B"]}}
