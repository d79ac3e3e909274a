from tools import get_sales_data, analyze_trends

sales = await get_sales_data(region="east")
sales.sort(key=lambda s: (-s["units"], s["id"]))
top_10 = sales[:10]
analysis = await analyze_trends(sales=top_10)
return {"analysis": analysis, "ids": [s["id"] for s in top_10]}
