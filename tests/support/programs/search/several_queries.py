from concurrent.futures import ThreadPoolExecutor
from urllib.parse import urlparse

queries = ["solar power", "wind power", "carbon tax"]
with ThreadPoolExecutor() as pool:
    results = dict(zip(queries, pool.map(search, queries)))

for query, hits in results.items():
    best = max(hits, key=lambda h: (h["relevance"], h["title"]))
    host = urlparse(best["url"]).netloc
    print(f"{query:>12}: {best['title']} @ {host}")
print(summarize([h for hits in results.values() for h in hits if h["relevance"] >= 0.9], max_titles=6))
