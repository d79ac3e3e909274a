"""Attacks on the machine's time, memory and patience, and on whoever reads what comes back."""

from __future__ import annotations

from tests.escapes.attacks import Attack, table

TIME = table(
    "hang",
    {
        "a loop": "while True: pass",
        "a loop that catches everything": """
            while True:
                try:
                    while True: pass
                except BaseException: pass
        """,
        "a finally that goes on": """
            while True:
                try:
                    while True: pass
                finally: continue
        """,
        "a lock taken twice": """
            import threading
            lock = threading.Lock()
            lock.acquire()
            lock.acquire()
        """,
        "a queue that stays empty": "import queue\nqueue.Queue().get()",
        "a C loop over a sentinel": "print(sum(iter(int, 1)))",
        "a C loop over a count": "import itertools\nprint(-1 in itertools.count())",
        "a C loop over a repeat": "import itertools\nall(itertools.repeat(True))",
        "permutations": "import itertools\nfor p in itertools.permutations(range(20)): pass",
        "a recursion that doubles": """
            def f(n): return f(n - 1) + f(n - 1) if n else 1
            f(60)
        """,
        "an object that revives itself": """
            class A:
                def __del__(self): A()
            while True: A()
        """,
        "a sleep": "import time\ntime.sleep(10 ** 6)",
        "a sleep of asyncio": "import asyncio\nawait asyncio.sleep(10 ** 6)",
        "a future that never comes": "import asyncio\nawait asyncio.get_running_loop().create_future()",
        "a task that will not be cancelled": """
            import asyncio
            async def stay():
                while True:
                    try: await asyncio.sleep(1000)
                    except BaseException: pass
            asyncio.create_task(stay())
            await asyncio.sleep(0.1)
        """,
        "a regular expression": "import re\nre.match(r'(a+)+$', 'a' * 60 + '!')",
        "a large power": "9 ** 9 ** 9",
        "products of large numbers": """
            x = 7 ** 1000000
            while True: x = x * x % (10 ** 1000000 + 7)
        """,
        "signals that are ignored": """
            import signal
            for number in signal.valid_signals():
                try: signal.signal(number, signal.SIG_IGN)
                except (OSError, ValueError): pass
            while True: pass
        """,
        "signals that are blocked": """
            import signal
            signal.pthread_sigmask(signal.SIG_BLOCK, signal.valid_signals())
            while True: pass
        """,
        "a limit of time that is raised": """
            import resource
            try: resource.setrlimit(resource.RLIMIT_CPU, (-1, -1))
            except (OSError, ValueError): pass
            while True: pass
        """,
        "threads that do not end": """
            import threading
            def spin():
                while True: pass
            for _ in range(8): threading.Thread(target=spin).start()
        """,
        "an exit that does not end": """
            import atexit
            def spin():
                while True: pass
            atexit.register(spin)
            raise SystemExit
        """,
        "code that is slow to compile": "x = " + "-" * 90000 + "1",
        "code that is deep to compile": "x = " + "(" * 20000 + ")" * 20000,
        "code that folds to much": "x = " + "(" * 80 + "'a' * 4000" + ") * 4000" * 80,
    },
)

MEMORY = table(
    "mem",
    {
        "a string that doubles": "s = 'ab'\nwhile True: s = s + s",
        "a set of a range": "x = set(range(10 ** 8))",
        "a list of products": "import itertools\nx = list(itertools.product(range(1000), repeat=3))",
        "a bytearray": "b = bytearray()\nwhile True: b.extend(b'x' * 10 ** 7)",
        "bytes at once": "x = bytes(10 ** 10)",
        "a counter": """
            import collections
            collections.Counter().update(str(i) * 20 for i in range(10 ** 8))
        """,
        "a tee that grows": """
            import itertools
            a, b = itertools.tee(itertools.count())
            for x in a: pass
        """,
        "what unpacks to more": """
            import zlib
            packed = zlib.compress(bytes(10 ** 8))
            x = [zlib.decompress(packed) for _ in range(20)]
        """,
        "json of much": "import json\njson.dumps([list(range(1000))] * 10 ** 6)",
        "a regular expression that repeats": """
            import re
            re.compile('((a{1,1000}){1,1000}){1,1000}').match('a' * 1000)
        """,
        "memory errors that are caught": """
            held = []
            while True:
                try: held.append(bytearray(10 ** 6))
                except MemoryError: pass
        """,
        "a format that is wide": "print(f'{1:>1000000000}')",
        "shared memory": "import mmap\nx = [mmap.mmap(-1, 10 ** 8) for _ in range(100)]",
        "a limit of memory that is raised": """
            import resource
            try: resource.setrlimit(resource.RLIMIT_AS, (-1, -1))
            except (OSError, ValueError): pass
            x = bytes(10 ** 9)
        """,
    },
)

OUTPUT = table(
    "flood|mem",
    {
        "many lines": "for i in range(2000000): print(i)",
        "one long line": "print('x' * 50_000_000)",
        "a long line of wide characters": "print('\\U0001f600' * 10_000_000)",
        "lines without end": "while True: print('x' * 1000)",
        "a flood that is caught": """
            while True:
                try: print('x' * 100000)
                except BaseException: pass
        """,
        "errors to the other stream": """
            import sys
            while True: sys.stderr.write('x' * 1000)
        """,
        "a huge value": "'R' * 50_000_000",
        "a huge value of many parts": "[{'a': i} for i in range(300_000)]",
        "a huge message of an error": "raise ValueError('E' * 50_000_000)",
        "huge notes of an error": """
            e = ValueError('x')
            for _ in range(100): e.add_note('n' * 1_000_000)
            raise e
        """,
        "a huge group of errors": "raise ExceptionGroup('g', [ValueError('E' * 10_000)] * 10_000)",
        "a huge name of an error": "raise type('E' * 5_000_000, (Exception,), {})",
        "a deep chain of errors": """
            e = None
            for i in range(50_000):
                new = ValueError('E' * 1000)
                new.__cause__ = e
                e = new
            raise e
        """,
        "a deep stack in an error": """
            def f(n): return f(n + 1)
            f(0)
        """,
        "warnings": """
            import warnings
            warnings.simplefilter('always')
            while True: warnings.warn('x' * 1000)
        """,
        "calls without end": "while True: await lookup('a')",
        "calls at once": """
            import asyncio
            await asyncio.gather(*[lookup('a') for _ in range(100_000)])
        """,
        "calls with large arguments": """
            import asyncio
            await asyncio.gather(*[lookup('a', 'x' * 7_000_000) for _ in range(50)])
        """,
        "calls whose limit is caught": """
            while True:
                try: await lookup('a')
                except BaseException: pass
        """,
    },
)

DEATHS = [
    *table(
        "crash",
        {
            "exit": "import os\nos._exit(7)",
            "abort": "import os\nos.abort()",
            "a null pointer": "import ctypes\nctypes.string_at(0)",
            "a signal to itself": "import signal\nsignal.raise_signal(signal.SIGKILL)",
            "an alarm": """
                import signal
                signal.signal(signal.SIGALRM, signal.SIG_DFL)
                signal.setitimer(signal.ITIMER_REAL, 0.1)
                while True: pass
            """,
            "a line that is closed": "import os\nos.closerange(3, 256)\nwhile True: pass",
            "a list that is deep when it dies": """
                x = None
                for i in range(500_000): x = [x]
                del x
            """,
            "lists that are deep to compare": """
                a, b = [], []
                for i in range(100_000): a, b = [a], [b]
                a == b
            """,
            "a value that is deep": """
                x = []
                for i in range(100_000): x = [x]
                x
            """,
            "an argument that is deep": """
                x = []
                for i in range(100_000): x = [x]
                await lookup(x)
            """,
            "an argument that holds itself": "a = []\na.append(a)\nawait lookup(a)",
            "a getattr without end": """
                class A:
                    def __getattr__(self, name): return getattr(self, name + 'x')
                A().y
            """,
            "a repr without end": """
                class A:
                    def __repr__(self): return repr([self])
                repr(A())
            """,
            "a recursion without a limit": """
                import sys
                sys.setrecursionlimit(10 ** 9)
                def f(): f()
                f()
            """,
            "a code object that is forged": """
                def f(): pass
                f.__code__ = f.__code__.replace(co_code=bytes(range(200)), co_stacksize=0)
                f()
            """,
            "a null in the source": "x = 1 \0\nprint(x)",
            "a surrogate in the source": "x = '\ud800'\nprint(len(x))",
            "a huge number in the value": "10 ** 100_000",
            "a huge number in an argument": "await lookup('a', 10 ** 100_000)",
            "a number that is none": "import decimal\nawait lookup('a', decimal.Decimal('sNaN'))",
        },
    ),
    *table(
        "base",
        {
            "GeneratorExit": "raise GeneratorExit",
            "KeyboardInterrupt": "raise KeyboardInterrupt",
            "SystemExit": "raise SystemExit(3)",
            "SystemExit with an object": "raise SystemExit(object())",
            "CancelledError": "import asyncio\nraise asyncio.CancelledError",
            "StopIteration": "raise StopIteration",
            "a group of base errors": "raise BaseExceptionGroup('g', [KeyboardInterrupt()])",
            "EOFError, as if the host were gone": "raise EOFError('the host is gone')",
            "an error whose text fails": """
                class E(Exception):
                    def __str__(self): raise KeyboardInterrupt
                    __repr__ = __str__
                raise E
            """,
            "an error whose class lies": """
                class E(Exception):
                    __class__ = property(lambda self: 1 / 0)
                    __cause__ = property(lambda self: 1 / 0)
                raise E
            """,
            "a surrogate in the output": "print('\\ud800')",
            "a surrogate in an argument": "await lookup('\\ud800')",
            "a surrogate in a keyword": "await lookup(**{'\\ud800': 1})",
            "a surrogate in an error": "raise ValueError('\\ud800')",
            "a value whose repr fails": """
                class A:
                    def __repr__(self): raise KeyboardInterrupt
                A()
            """,
        },
    ),
]

LOAD: list[Attack] = [*TIME, *MEMORY, *OUTPUT, *DEATHS]
