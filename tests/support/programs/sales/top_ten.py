sales = await get_sales_data()
sorted_sales = sorted(sales, key=lambda x: x["revenue"], reverse=True)
top_10 = sorted_sales[:10]
analysis = await analyze_trends(top_10)
return analysis
