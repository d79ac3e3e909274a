data = search(query="nothing", limit=0)
filtered = [item["title"] for item in data]
if not filtered:
    print("No results for query 'nothing'")
else:
    print(summarize(data=data))
