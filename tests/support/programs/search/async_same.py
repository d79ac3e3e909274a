import asyncio
import re

async def relevant(query, threshold=0.6):
    hits = await search(query=query)
    return [h for h in hits if h["relevance"] >= threshold]

first, second = await asyncio.gather(relevant("climate change"), relevant("sea level", threshold=0.8))
merged = {h["url"]: h for h in first + second}
numbers = [int(re.search(r"#(\d+)$", h["title"]).group(1)) for h in merged.values()]
summary = await summarize(data=list(merged.values()))
print(f"Sources: {len(merged)} {numbers}\nSummary: {summary}")
