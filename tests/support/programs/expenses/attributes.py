team = await get_team_members(department="engineering")
result = []
for member in team:
    expenses = await get_expenses(user_id=member.id, quarter="Q3")
    total = sum(e.amount for e in expenses)
    if total > 4700:
        result.append((member.name, total))
print(result)

boss = await get_employee(team[-1].id)
chain = [boss.name]
while boss.manager_id is not None:
    boss = await get_employee(boss["manager_id"])
    chain.append(f"{boss.name} ({boss.level}, since {boss.hired:%Y})")
print(" -> ".join(chain))
