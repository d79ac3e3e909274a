"""Small programs of plain Python, as models write them; each prints, and CPython says what.

No tools, no `await` at the top level, no files: what a language is, and nothing of how one sandbox or
another offers its tools. Half need no import. None was written or changed to suit any sandbox.
"""

from __future__ import annotations

import re

_SOURCE = '''
#### arithmetic
print(7 // 2, -7 // 2, 7 % 3, -7 % 3, 2 ** 10, divmod(17, 5), round(2.675, 2), abs(-3.5))
#### big numbers
print(2 ** 200, int("123456789" * 5) % 97, (10 ** 30).bit_length())
#### strings
s = "  Hello, World  "
print(s.strip().lower().replace("l", "L"), s.split(","), "x".join("abc"), "abc"[::-1], s.find("W"))
#### formatting
rows = [("Ada", 1234.5), ("Grace", 98.765)]
for name, amount in rows:
    print(f"{name:<8}|{amount:>12,.2f}|{amount:.1e}|{name!r:>9}")
#### old formatting
print("%s is %d years and %.2f" % ("Ada", 36, 1.005), "{} {0}".replace("{0}", "x").format("a"))
#### slices and unpacking
first, *middle, last = range(8)
a = list(range(10))
a[2:5] = [20, 30]
print(first, middle, last, a[::3], a[-2:])
#### comprehensions
table = {(x, y): x * y for x in range(4) for y in range(x) if (x + y) % 2}
print(table, {len(w) for w in "a bb cc ddd".split()}, [[c for c in w] for w in ("ab", "c")])
#### generator expression
print(sum(x * x for x in range(100) if x % 3 == 0), max((len(w), w) for w in "to be or not".split()))
#### grouping with a dict
sales = [("north", 10), ("south", 5), ("north", 7), ("east", 3)]
totals = {}
for region, amount in sales:
    totals[region] = totals.get(region, 0) + amount
for region, amount in sorted(totals.items(), key=lambda item: -item[1]):
    print(region, amount)
#### grouping with setdefault
groups = {}
for word in "apple avocado bean cherry cactus".split():
    groups.setdefault(word[0], []).append(word)
print(groups)
#### nested data
data = {"users": [{"name": "Ada", "tags": ["x", "y"]}, {"name": "Bob", "tags": []}]}
data["users"][1]["tags"].append("z")
data["users"][0]["age"] = data["users"][0].get("age", 0) + 1
del data["users"][0]["name"]
print(data)
#### sets
a, b = {1, 2, 3, 4}, {3, 4, 5}
print(sorted(a & b), sorted(a | b), sorted(a - b), sorted(a ^ b), a >= {1}, len(a))
#### sorting
people = [("Ada", 36), ("Bob", 25), ("Cy", 36)]
people.sort(key=lambda p: (-p[1], p[0]))
print(people, sorted("banana"), sorted([3, 1, 2], reverse=True))
#### while, break, else
n, steps = 27, 0
while n != 1:
    n = n // 2 if n % 2 == 0 else 3 * n + 1
    steps += 1
    if steps > 200:
        break
else:
    print("reached one in", steps)
#### for, continue, else
for n in range(2, 20):
    for d in range(2, n):
        if n % d == 0:
            break
    else:
        print(n, end=" ")
print()
#### augmented assignment
x, items, d = 5, [1], {"a": 1}
x -= 2; x *= 10; x //= 3; x **= 2; x |= 1
items += [2, 3]
d["a"] += 41
print(x, items, d)
#### functions
def area(width, height=2, *rest, scale=1, **more):
    return width * height * scale + sum(rest) + len(more)
print(area(3), area(3, 4, 5, scale=2), area(*[1, 2], **{"scale": 3, "x": 1}))
#### recursion
def fib(n):
    return n if n < 2 else fib(n - 1) + fib(n - 2)
def flatten(value):
    return [x for v in value for x in flatten(v)] if isinstance(value, list) else [value]
print(fib(15), flatten([1, [2, [3, [4]]], 5]))
#### closures
def counter():
    count = 0
    def step(by=1):
        nonlocal count
        count += by
        return count
    return step
c = counter()
c(); c(5)
print(c())
#### global
total = 0
def add(amount):
    global total
    total += amount
for amount in (1, 2, 3):
    add(amount)
print(total)
#### lambda, map, filter
print(list(map(lambda x: x * 2, filter(lambda x: x % 2, range(6)))), list(zip("ab", [1, 2])))
#### enumerate, zip, reversed, any, all
names, ages = ["Ada", "Bob"], [36, 25]
for number, (name, age) in enumerate(zip(names, ages), start=1):
    print(number, name, age)
print(any(a > 30 for a in ages), all(a > 30 for a in ages), list(reversed(names)))
#### walrus
values = iter([3, 5, 0, 7])
while (v := next(values)) != 0:
    print(v)
print([y for x in range(5) if (y := x * x) > 3])
#### conditional expression and chaining
for x in (-5, 0, 5):
    print("neg" if x < 0 else "zero" if x == 0 else "pos", -3 < x < 3, x and 10 // x)
#### exceptions
def parse(text):
    try:
        return int(text)
    except ValueError as error:
        return f"bad: {error}"
    finally:
        print("parsed", text)
print(parse("42"), parse("x"))
#### raise and chain
class BudgetError(Exception):
    def __init__(self, amount):
        super().__init__(f"over by {amount}")
        self.amount = amount
try:
    try:
        {}["missing"]
    except KeyError as error:
        raise BudgetError(12) from error
except BudgetError as error:
    print(error, error.amount, repr(error.__cause__))
#### several kinds of exceptions
for bad in ("int('x')", 1, 2):
    try:
        if bad == 1:
            [][3]
        elif bad == 2:
            1 / 0
        else:
            int("x")
    except (ValueError, IndexError) as e:
        print(type(e).__name__)
    except ZeroDivisionError:
        print("zero")
    else:
        print("never")
#### assert
try:
    assert 1 + 1 == 3, "sums are wrong"
except AssertionError as error:
    print("failed:", error)
#### class
class Account:
    rate = 0.5
    def __init__(self, owner, balance=0):
        self.owner, self.balance = owner, balance
    def deposit(self, amount):
        self.balance += amount
        return self
    def __repr__(self):
        return f"Account({self.owner!r}, {self.balance})"
print(Account("Ada").deposit(10).deposit(5), Account.rate)
#### inheritance
class Shape:
    def area(self):
        return 0
    def describe(self):
        return f"{type(self).__name__} of {self.area():.2f}"
class Square(Shape):
    def __init__(self, side):
        self.side = side
    def area(self):
        return self.side ** 2
class Cube(Square):
    def area(self):
        return 6 * super().area()
print(Square(2).describe(), Cube(2).describe(), isinstance(Cube(1), Shape))
#### operators of a class
class Money:
    def __init__(self, cents): self.cents = cents
    def __add__(self, other): return Money(self.cents + other.cents)
    def __lt__(self, other): return self.cents < other.cents
    def __eq__(self, other): return self.cents == other.cents
    def __str__(self): return f"{self.cents / 100:.2f}"
print(Money(150) + Money(275), Money(1) < Money(2), min([Money(3), Money(2)]), Money(1) == Money(1))
#### property and static methods
class Circle:
    def __init__(self, r): self.r = r
    @property
    def diameter(self): return 2 * self.r
    @diameter.setter
    def diameter(self, value): self.r = value / 2
    @classmethod
    def unit(cls): return cls(1)
    @staticmethod
    def name(): return "circle"
c = Circle.unit()
c.diameter = 10
print(c.r, c.diameter, Circle.name())
#### iterator protocol
class Countdown:
    def __init__(self, n): self.n = n
    def __iter__(self): return self
    def __next__(self):
        if self.n == 0: raise StopIteration
        self.n -= 1
        return self.n
    def __len__(self): return self.n
print(list(Countdown(3)), len(Countdown(7)), sum(Countdown(4)))
#### generator function
def pages(total, size):
    for start in range(0, total, size):
        yield start, min(start + size, total)
print(list(pages(10, 4)))
#### generator that receives
def mean():
    total = count = 0
    value = None
    while True:
        value = yield (total / count if count else None)
        total += value; count += 1
m = mean()
next(m)
print(m.send(10), m.send(20))
#### yield from
def walk(tree):
    for key, value in tree.items():
        if isinstance(value, dict):
            yield from walk(value)
        else:
            yield key, value
print(dict(walk({"a": 1, "b": {"c": 2, "d": {"e": 3}}})))
#### decorator
def logged(f):
    def inner(*args, **kwargs):
        result = f(*args, **kwargs)
        print(f.__name__, args, kwargs, "->", result)
        return result
    return inner
@logged
def multiply(a, b=2):
    return a * b
multiply(3); multiply(3, b=5)
#### context manager
class Step:
    def __init__(self, name): self.name = name
    def __enter__(self):
        print("begin", self.name)
        return self
    def __exit__(self, kind, error, trace):
        print("end", self.name, kind and kind.__name__)
        return True
with Step("one") as step, Step("two"):
    1 / 0
print(step.name)
#### match
def act(command):
    match command:
        case {"do": "move", "by": [x, y]}: return f"move {x},{y}"
        case ["say", *words] if words: return " ".join(words)
        case int() | float(): return "number"
        case None: return "nothing"
        case _: return "unknown"
print([act(c) for c in ({"do": "move", "by": [1, 2]}, ["say", "hi", "you"], 3.5, None, "x")])
#### match of classes
class Point:
    __match_args__ = ("x", "y")
    def __init__(self, x, y): self.x, self.y = x, y
match Point(0, 5):
    case Point(0, y): print("on the axis at", y)
    case Point(): print("elsewhere")
#### type hints
Row = dict[str, float]
def total(rows: list[Row], key: str = "amount", *, top: int | None = None) -> float:
    amounts: list[float] = [row[key] for row in rows]
    return sum(amounts[:top])
print(total([{"amount": 1.5}, {"amount": 2.5}], top=1))
#### bytes
raw = "héllo".encode("utf-8")
print(raw, len(raw), raw.decode("utf-8"), raw.hex(), bytes([65, 66]), bytearray(b"ab") + b"c")
#### dict methods
a = {"x": 1} | {"y": 2}
a.update(z=3)
print(a, a.pop("x"), list(a.items()), dict(zip("ab", (1, 2))), {**a, "q": 0}, "y" in a)
#### type checks
values = [1, 1.5, "a", None, True, [1], (1,), {"a": 1}, {1}]
print([type(v).__name__ for v in values], [isinstance(v, (int, float)) for v in values])
#### print options
print("a", "b", sep="-", end="!\\n")
print(*[1, 2, 3], sep=", ")
print()
#### exception groups
try:
    raise ExceptionGroup("several", [ValueError("a"), TypeError("b")])
except* ValueError as group:
    print("values", [str(e) for e in group.exceptions])
except* TypeError as group:
    print("types", len(group.exceptions))
#### json
import json
text = json.dumps({"b": [1, 2.5, None, True], "a": "ä"}, indent=2, sort_keys=True)
print(text, json.loads(text)["b"][1])
#### regular expressions
import re
log = "2025-11-20 ERROR db: timeout after 30s\\n2025-11-21 INFO ok"
for day, level in re.findall(r"^(\\d{4}-\\d\\d-\\d\\d) (\\w+)", log, re.M):
    print(day, level)
print(re.sub(r"(\\d+)s", lambda m: f"{int(m[1]) * 1000}ms", log).splitlines()[0])
#### dates
from datetime import date, datetime, timedelta
start = date(2025, 2, 27)
print([(start + timedelta(days=n)).isoformat() for n in range(3)], start.strftime("%a %d %b"))
print((datetime(2025, 3, 1, 12) - datetime(2025, 2, 28)).total_seconds() / 3600, start.isocalendar()[1])
#### parsing dates
from datetime import datetime
d = datetime.strptime("21/11/2025 14:05", "%d/%m/%Y %H:%M")
print(d, d.weekday(), datetime.fromisoformat("2025-01-02T03:04:05+00:00").utcoffset())
#### Counter and defaultdict
from collections import Counter, defaultdict
words = "the cat the dog the end".split()
by_length = defaultdict(list)
for word in words:
    by_length[len(word)].append(word)
print(Counter(words).most_common(2), dict(by_length))
#### namedtuple and deque
from collections import deque, namedtuple
Item = namedtuple("Item", "name price")
queue = deque([1, 2, 3], maxlen=3)
queue.append(4); queue.rotate(1)
print(Item("pen", 2)._replace(price=3), list(queue), Item("a", 1)._asdict())
#### itertools
import itertools
print(list(itertools.chain([1], [2, 3])), list(itertools.combinations("abc", 2)))
for key, group in itertools.groupby(sorted(["ab", "b", "cd", "c"], key=len), key=len):
    print(key, list(group))
print(list(itertools.accumulate([1, 2, 3])), list(itertools.islice(itertools.count(5), 3)))
#### functools
import functools
@functools.lru_cache(maxsize=None)
def ways(n):
    return 1 if n < 2 else ways(n - 1) + ways(n - 2)
print(ways(60), functools.reduce(lambda a, b: a * b, [1, 2, 3, 4]), functools.partial(int, base=2)("101"))
#### statistics and math
import math
import statistics
data = [2, 4, 4, 4, 5, 5, 7, 9]
print(statistics.mean(data), statistics.median(data), statistics.pstdev(data), math.sqrt(2), math.isclose(0.1 + 0.2, 0.3))
print(math.floor(-1.5), math.ceil(1.2), math.gcd(12, 18), round(math.pi, 5), math.inf > 1)
#### dataclass
from dataclasses import dataclass, field, asdict
@dataclass(order=True)
class Task:
    priority: int
    name: str = field(compare=False)
    tags: list[str] = field(default_factory=list, compare=False)
tasks = sorted([Task(2, "b"), Task(1, "a", ["x"])])
print(tasks, asdict(tasks[0]), Task(1, "q") == Task(1, "r"))
#### enum
from enum import Enum, auto
class Status(Enum):
    OPEN = "open"
    DONE = "done"
class Level(Enum):
    LOW = auto()
    HIGH = auto()
print(Status("done"), Status.OPEN.value, [s.name for s in Status], Level.HIGH.value)
#### decimal and fractions
from decimal import ROUND_HALF_UP, Decimal
from fractions import Fraction
print(Decimal("0.1") + Decimal("0.2"), Decimal("2.675").quantize(Decimal("0.01"), ROUND_HALF_UP))
print(Fraction(1, 3) + Fraction(1, 6))
#### heapq and bisect
import bisect
import heapq
print(heapq.nlargest(3, [5, 1, 9, 7]), heapq.nsmallest(2, "hello"))
grades = [60, 70, 80]
print(["DCBA"[bisect.bisect(grades, s)] for s in (55, 60, 75, 99)])
#### csv
import csv
import io
rows = list(csv.DictReader(io.StringIO("name,amount\\nAda,10\\n\\"Bob, Jr\\",20\\n")))
out = io.StringIO()
csv.writer(out).writerows([["x", 'say "hi"'], [1, 2]])
print(rows, repr(out.getvalue()))
#### contextlib
import contextlib
@contextlib.contextmanager
def step(name):
    print("begin", name)
    yield name.upper()
    print("end", name)
with step("work") as upper:
    print(upper)
with contextlib.suppress(KeyError):
    {}["x"]
print("done")
#### abstract classes and protocols
from abc import ABC, abstractmethod
class Source(ABC):
    @abstractmethod
    def read(self): ...
class Fixed(Source):
    def read(self): return [1, 2]
try:
    Source()
except TypeError as error:
    print("abstract:", "abstract" in str(error))
print(Fixed().read())
#### typing
from typing import Any, Literal, NamedTuple, Optional, TypedDict
class Row(TypedDict):
    name: str
    amount: float
class Pair(NamedTuple):
    left: int
    right: int = 0
def pick(rows: list[Row], mode: Literal["max", "min"] = "max") -> Optional[Row]:
    return max(rows, key=lambda r: r["amount"]) if rows and mode == "max" else None
print(pick([{"name": "a", "amount": 1.0}, {"name": "b", "amount": 2.0}]), Pair(1), pick([]))
#### asyncio
import asyncio
async def fetch(n):
    await asyncio.sleep(0.001 * (3 - n))
    return n * n
async def main():
    results = await asyncio.gather(*[fetch(n) for n in range(3)])
    print(results)
asyncio.run(main())
#### asyncio with a semaphore
import asyncio
async def work(n, gate, done):
    async with gate:
        await asyncio.sleep(0)
        done.append(n)
async def main():
    gate, done = asyncio.Semaphore(2), []
    async with asyncio.TaskGroup() as group:
        for n in range(5):
            group.create_task(work(n, gate, done))
    print(sorted(done))
asyncio.run(main())
#### async generator
import asyncio
async def pages():
    for n in range(3):
        await asyncio.sleep(0)
        yield n
async def main():
    print([n async for n in pages() if n != 1])
asyncio.run(main())
#### threads of a pool
from concurrent.futures import ThreadPoolExecutor
def square(n):
    return n * n
with ThreadPoolExecutor(max_workers=4) as pool:
    print(list(pool.map(square, range(5))))
#### hashing and encoding
import base64
import hashlib
print(hashlib.sha256(b"abc").hexdigest()[:16], base64.b64encode(b"hello").decode())
#### string and textwrap
import string
import textwrap
print(textwrap.shorten("a long line of words to cut", 15), string.ascii_lowercase[:5])
print(textwrap.dedent("""
    indented
      more
""").strip(), string.Template("$who likes $what").substitute(who="Ada", what="maths"))
#### random with a seed
import random
rng = random.Random(7)
print(rng.randint(1, 100), [rng.choice("abc") for _ in range(4)], round(rng.random(), 6))
#### copy and operator
import copy
import operator
a = {"x": [1]}
b = copy.deepcopy(a)
b["x"].append(2)
print(a, b, sorted([{"n": 2}, {"n": 1}], key=operator.itemgetter("n")))
#### a report
records = [
    {"team": "A", "person": "Ada", "amount": 120.5, "status": "paid"},
    {"team": "B", "person": "Bob", "amount": 80.0, "status": "open"},
    {"team": "A", "person": "Cy", "amount": 30.25, "status": "paid"},
]
paid = [r for r in records if r["status"] == "paid"]
by_team = {}
for r in paid:
    by_team.setdefault(r["team"], []).append(r)
for team, rows in sorted(by_team.items()):
    total = sum(r["amount"] for r in rows)
    best = max(rows, key=lambda r: r["amount"])
    print(f"{team}: {total:.2f} ({len(rows)} rows), most by {best['person']}")
'''

PROGRAMS: tuple[tuple[str, str], ...] = tuple(
    (name.strip(), code.strip() + "\n")
    for name, _, code in (
        part.partition("\n") for part in re.split(r"^#### ", _SOURCE, flags=re.MULTILINE)[1:]
    )
)
"""Names and sources."""
