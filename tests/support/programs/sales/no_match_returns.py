sales = await get_sales_data(region="atlantis")
if not sales:
    return "No sales in this region"
analysis = await analyze_trends(sales)
print("never reached")
return analysis
