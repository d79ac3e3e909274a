from collections import Counter
from textwrap import shorten

data = search(query="climate change", limit=12)
years = Counter(item["year"] for item in data)
top_year, n = years.most_common(1)[0]
filtered = list(filter(lambda item: item["year"] == top_year, data))
summary = summarize(data=filtered, max_titles=len(filtered))
print(f"Most common year: {top_year} ({n} results)\n{shorten(summary, width=50, placeholder='...')}")
print(dict(sorted(years.items())), end="\n\n")
print("done")
