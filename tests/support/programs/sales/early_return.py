sales = await get_sales_data(year=2023)

for sale in sales:
    if sale["region"] == "west":
        if sale["revenue"] > 4000:
            return {"found": True, "sale": sale}

return {"found": False}
