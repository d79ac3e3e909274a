data = search(query="climate change")
filtered = [item for item in data if item["relevance"] > 0.7]
summary = summarize(data=filtered)
print(f"Found {len(data)} results, {len(filtered)} relevant.\n"
      f"Summary: {summary}")
