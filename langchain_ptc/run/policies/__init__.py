"""What is done for a tool whose calls fail, repeat, or come too fast: one file for each behaviour.

All of it is our own, and small. Libraries were looked at: an `aiolimiter` or an `asyncio.Semaphore`
belongs to one event loop, and the calls of one tool come from many, of synchronous code too; `pybreaker`
runs what it guards in a thread or not at all, and lets a probe that never ends keep it half open for
ever; `tenacity` takes 60 µs for a call that succeeds at once, twice what all policies together may.
"""
