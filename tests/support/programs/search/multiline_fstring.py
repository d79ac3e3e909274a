data = search("climate change", limit=6)
filtered = [d for d in data if d["year"] >= 2022 and "climate" in d["title"].lower()]
summary = summarize(data=filtered)
print(f"""Results: {len(filtered)} of {len(data)}
Summary: {summary!r:.40}""")
