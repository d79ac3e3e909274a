import json
import math

sales = await get_sales_data(region="north")
revenues = [s["revenue"] for s in sales]
geometric = math.exp(sum(math.log(r) for r in revenues) / len(revenues))
print(f"n={len(sales)} geometric mean={geometric:.3f}")
analysis = await analyze_trends(sales)
print(json.dumps(analysis))
return analysis
