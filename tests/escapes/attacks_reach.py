"""Attacks that reach for what the host has: files, programs, the network, its memory, its tools."""

from __future__ import annotations

from tests.escapes.attacks import Attack, table

_RUN = "m.system('echo x > {CANARY}/out/ran')"
_WALKS = {
    "logging": "import logging\nm = logging.os",
    "string": "import string\nm = string.capwords.__builtins__['__import__']('os')",
    "enum": "import enum\nm = enum.sys.modules['os']",
    "collections": "import collections\nm = collections._sys.modules['os']",
    "re": "import re\nm = re.enum.sys.modules['os']",
    "dataclasses": "import dataclasses\nm = dataclasses.sys.modules['os']",
    "uuid": "import uuid\nm = uuid.os",
    "contextlib": "import contextlib\nm = contextlib.os",
    "difflib": "import difflib\nm = difflib.get_close_matches.__globals__['__builtins__']['__import__']('os')",
    "statistics": "import statistics\nm = statistics.random._os",
    "time": "import time\nm = time.__loader__.load_module('posix')",
    "copy": "import copy\nm = copy.copy.__globals__['__builtins__']['__import__']('os')",
    "functools": "import functools\nm = functools.__builtins__['__import__']('os')",
    "textwrap": "import textwrap\nm = textwrap.re.enum.sys.modules['os']",
    "calendar": "import calendar\nm = calendar.sys.modules['os']",
    "csv": "import csv\nm = csv.Sniffer.sniff.__builtins__['__import__']('os')",
    "asyncio": "import asyncio\nm = asyncio.base_events.os",
    "json": "import json\nm = json.codecs.sys.modules['os']",
    "typing": "import typing\nm = typing.sys.modules['os']",
    "decimal": "import decimal\nm = decimal.Decimal.__new__.__self__.__subclasses__\nm = __import__('os')",
    "a class of the interpreter": """
        found = [k for k in ().__class__.__base__.__subclasses__() if k.__name__ == '_wrap_close']
        m = found[0].__init__.__globals__['sys'].modules['os']
    """,
    "the loader in sys": (
        "import sys\n"
        "named = {getattr(f, '__name__', ''): f for f in sys.meta_path}\n"
        "m = named['BuiltinImporter'].load_module('posix')"
    ),
    "everything of os": "from os import *\nclass m: system = system",
}

EXECUTION = [
    *[
        attack._replace(name=f"walk from {attack.name}", code=f"{attack.code}\n{_RUN}")
        for attack in table("file: {CANARY}/out/ran", _WALKS)
    ],
    *table(
        "file: {CANARY}/out/ran",
        {
            "a logger's factory": """
                import logging.config
                made = {'()': 'os.system', 'command': 'echo x > {CANARY}/out/ran'}
                logging.config.dictConfig({'version': 1, 'formatters': {'f': made}})
            """,
            "an annotation that is evaluated": """
                import inspect
                def f(x: "__import__('os').system('echo x > {CANARY}/out/ran')"): pass
                inspect.signature(f, eval_str=True)
            """,
            "a forward reference that is evaluated": """
                import typing
                def f(x: "__import__('os').system('echo x > {CANARY}/out/ran')"): pass
                typing.get_type_hints(f)
            """,
            "code through the C interface": """
                import ctypes
                ctypes.pythonapi.PyRun_SimpleString(
                    b"import os; os.system('echo x > {CANARY}/out/ran')")
            """,
            "fork and execute": """
                import os
                if os.fork() == 0:
                    os.execv('/bin/sh', ['sh', '-c', 'echo x > {CANARY}/out/ran'])
                os.wait()
            """,
            "execute in place": """
                import os
                os.execv('/bin/sh', ['sh', '-c', 'echo x > {CANARY}/out/ran'])
            """,
            "spawn": """
                import os
                args = ['sh', '-c', 'echo x > {CANARY}/out/ran']
                os.waitpid(os.posix_spawn('/bin/sh', args, {}), 0)
            """,
            "a subprocess": """
                import subprocess
                subprocess.run(['sh', '-c', 'echo x > {CANARY}/out/ran'])
            """,
            "a subprocess of asyncio": """
                import asyncio
                p = await asyncio.create_subprocess_shell('echo x > {CANARY}/out/ran')
                await p.wait()
            """,
            "a pool of processes": """
                import concurrent.futures, multiprocessing, os
                context = multiprocessing.get_context('fork')
                with concurrent.futures.ProcessPoolExecutor(1, mp_context=context) as pool:
                    pool.submit(os.system, 'echo x > {CANARY}/out/ran').result()
            """,
            "a process of multiprocessing": """
                import multiprocessing, os
                make = multiprocessing.get_context('fork').Process
                p = make(target=os.system, args=('echo x > {CANARY}/out/ran',))
                p.start()
                p.join()
            """,
            "a thread that writes later": """
                import threading, time
                def later():
                    time.sleep(0.3)
                    open('{CANARY}/out/ran', 'w').write('x')
                threading.Thread(target=later, daemon=True).start()
            """,
            "a finalizer that writes at exit": """
                import atexit, weakref
                class A: pass
                kept = A()
                weakref.finalize(kept, lambda: open('{CANARY}/out/ran', 'w').write('x'))
                atexit.register(lambda: open('{CANARY}/out/ran', 'w').write('x'))
            """,
            "a copied file": """
                import shutil
                shutil.copy('{CANARY}/secret.txt', '{CANARY}/out/ran')
            """,
            "a link": "import os\nos.symlink('/etc/passwd', '{CANARY}/out/ran')",
            "a folder": "import os\nos.mkdir('{CANARY}/out/ran')",
            "a core file": """
                import os, resource, ctypes
                resource.setrlimit(resource.RLIMIT_CORE, (-1, -1))
                os.chdir('{CANARY}/out')
                ctypes.string_at(0)
            """,
        },
    ),
]

FILES = [
    *table(
        "stdout: PTC-CANARY-file",
        {
            "open": "print(open('{CANARY}/secret.txt').read())",
            "open by a module's import": """
                import tempfile
                print(tempfile._io.open('{CANARY}/secret.txt').read())
            """,
            "open by _io": "import _io\nprint(_io.FileIO('{CANARY}/secret.txt').read())",
            "open by posix": """
                import posix
                print(posix.read(posix.open('{CANARY}/secret.txt', 0), 99))
            """,
            "open relative to the line": """
                import os
                print(os.read(os.open('{CANARY}/secret.txt', 0, dir_fd=3), 99))
            """,
            "fileinput": """
                import fileinput
                for line in fileinput.input(['{CANARY}/secret.txt']): print(line)
            """,
            "linecache": "import linecache\nprint(linecache.getline('{CANARY}/secret.txt', 1))",
            "codecs": "import codecs\nprint(codecs.open('{CANARY}/secret.txt').read())",
            "pathlib": "import pathlib\nprint(pathlib.Path('{CANARY}/secret.txt').read_text())",
            "a descriptor that was left open": """
                import os
                for fd in [*range(3), *range(4, 300)]:
                    try: print(os.pread(fd, 99, 0))
                    except OSError: pass
            """,
            "the root of another process": """
                import os
                for pid in [os.getppid(), *range(1, 400)]:
                    try: print(open(f'/proc/{pid}/root{CANARY}/secret.txt').read())
                    except OSError: pass
            """,
            "a text in a traceback": """
                import traceback
                try: compile(open('{CANARY}/secret.txt').read(), '{CANARY}/secret.txt', 'exec')
                except Exception: traceback.print_exc()
            """,
            "a syntax error that quotes a file": """
                raise SyntaxError('x', ('{CANARY}/secret.txt', 1, 1, None))
            """,
            "a mapped file": """
                import mmap, os
                print(mmap.mmap(os.open('{CANARY}/secret.txt', 0), 0, prot=1)[:])
            """,
            "a zoneinfo path": """
                import zoneinfo
                zoneinfo.reset_tzpath(['{CANARY}'])
                try: zoneinfo.ZoneInfo('secret.txt')
                except Exception as e: print(e, e.__cause__)
            """,
        },
    ),
    *table(
        "stdout: r-xp|python|VmPeak|uid_map",
        {
            "its own maps": "print(open('/proc/self/maps').read())",
            "its parent's command line": """
                import os
                print(open(f'/proc/{os.getppid()}/cmdline').read())
            """,
            "its own status": "print(open('/proc/self/status').read())",
            "the list of processes": """
                import os
                for pid in os.listdir('/proc'):
                    if pid.isdigit(): print(open(f'/proc/{pid}/comm').read())
            """,
            "the folder of its interpreter": """
                import os, sys
                print(os.listdir(os.path.dirname(sys.executable)))
            """,
        },
    ),
    *table(
        "stdout: DONE",
        {
            "its own memory as a file": """
                file = open('/proc/self/mem', 'rb')
                print('DONE')
            """,
            "many descriptors": """
                held = [open('/dev/null') for _ in range(900)]
                print('DONE')
            """,
            "a traceback into a file": """
                import faulthandler
                faulthandler.dump_traceback(open('{CANARY}/out/trace', 'w'))
                print('DONE')
            """,
            "a database": "import sqlite3\nsqlite3.connect('{CANARY}/x.db')\nprint('DONE')",
        },
    ),
    Attack(
        "a temporary file",
        "stdout: DONE",
        "import tempfile\ntempfile.TemporaryFile()\nprint('DONE')",
        dict.fromkeys(("kernel with files", "both with files"), "it is in the folder"),
    ),
]

NETWORK = table(
    "connect",
    {
        "a socket": """
            import socket
            socket.create_connection(('127.0.0.1', {PORT}), 1)
        """,
        "the shell's": """
            import os
            os.system("bash -c 'echo x > /dev/tcp/127.0.0.1/{PORT}'")
        """,
        "a client of http": """
            import http.client
            http.client.HTTPConnection('127.0.0.1', {PORT}, timeout=1).request('GET', '/')
        """,
        "urllib": """
            import urllib.request
            urllib.request.urlopen('http://127.0.0.1:{PORT}', timeout=1)
        """,
        "streams of asyncio": """
            import asyncio
            reader, writer = await asyncio.open_connection('127.0.0.1', {PORT})
            writer.write(b'x')
        """,
        "a name that is looked up": """
            import socket
            for found in socket.getaddrinfo('localhost', {PORT}, socket.AF_INET, socket.SOCK_STREAM):
                socket.socket(*found[:3]).connect(found[4])
        """,
        "the line, connected elsewhere": """
            import ctypes, struct
            c = ctypes.CDLL(None)
            address = struct.pack('=H', 2) + struct.pack('>HI8x', {PORT}, 0x7F000001)
            c.connect(3, address, 16)
            c.sendto(3, b'x', 1, 0, address, 16)
        """,
        "a logging handler": """
            import logging.handlers
            logging.handlers.SocketHandler('127.0.0.1', {PORT}).emit(logging.makeLogRecord({}))
        """,
    },
)

SECRETS = [
    *table(
        "stdout: PTC-CANARY-env",
        {
            "the environment": "import os\nprint(os.environ)",
            "the environment in a file": "print(open('/proc/self/environ').read())",
            "the environment of its parent": "print(open('/proc/1/environ').read())",
            "the environment in memory": """
                import ctypes
                environ = ctypes.POINTER(ctypes.c_char_p).in_dll(ctypes.CDLL(None), 'environ')
                i = 0
                while environ and environ[i]: print(environ[i]); i += 1
            """,
            "the environment by super": """
                class A:
                    def f(self): return super().__getattribute__('f')
                print(A().f().__func__.__globals__['__builtins__'].__import__('os').environ)
            """,
            "the environment by a hook of classes": """
                class A:
                    def __init_subclass__(cls): print(__import__('os').environ['PTC_SECRET'])
                class B(A): pass
            """,
            "the environment by a metaclass": """
                class M(type):
                    def __getattr__(cls, name): return eval("__import__('os').environ['PTC_SECRET']")
                class A(metaclass=M): pass
                print(A.x)
            """,
        },
    ),
    *table(
        "stdout: PTC-CANARY-host",
        {
            "the host's main module": "import __main__\nprint(__main__.HOST_SECRET)",
            "globals of a tool": "print(lookup.__globals__['HOST_SECRET'])",
            "globals of what a tool wraps": "print(lookup.__wrapped__.__globals__['HOST_SECRET'])",
            "globals by getattr": "print(getattr(lookup, '__glo' + 'bals__')['HOST_SECRET'])",
            "globals by attrgetter": """
                import operator
                print(operator.attrgetter('__globals__')(lookup)['HOST_SECRET'])
            """,
            "globals by methodcaller": """
                import operator
                get = operator.methodcaller('__getattribute__', '__globals__')
                print(get(lookup)['HOST_SECRET'])
            """,
            "globals of a bound tool": """
                print(lookup.__get__(1).__func__.__globals__['HOST_SECRET'])
            """,
            "globals of the tool's self": """
                print(lookup.__self__.__init__.__globals__['HOST_SECRET'])
            """,
            "globals of func": "print(lookup.func.__globals__['HOST_SECRET'])",
            "globals by str.format": """
                for name in ('', '.__wrapped__', '.func', '.__self__', '.__func__', '.coroutine'):
                    try: print(('{0' + name + '.__globals__[HOST_SECRET]}').format(lookup))
                    except Exception as e: print(type(e))
            """,
            "globals by a logger's style": """
                import logging
                style = '{tool.__globals__[HOST_SECRET]}'
                formatter = logging.Formatter(style, style='{', validate=False)
                print(formatter.format(logging.makeLogRecord({'tool': lookup})))
            """,
            "globals by string.Formatter": """
                import string
                print(string.Formatter().format('{0.__globals__[HOST_SECRET]}', lookup))
            """,
            "frames of an error of a tool": """
                try: await lookup()
                except Exception as e: trace = e.__traceback__
                while trace:
                    print(trace.tb_frame.f_globals.get('HOST_SECRET'))
                    trace = trace.tb_next
            """,
            "frames below": """
                import sys
                frame = sys._getframe()
                while frame:
                    print(frame.f_globals.get('HOST_SECRET'))
                    frame = frame.f_back
            """,
            "frames by inspect": """
                import inspect
                for level in inspect.stack(): print(level.frame.f_globals.get('HOST_SECRET'))
            """,
            "frames of a task": """
                import asyncio
                for frame in asyncio.current_task().get_stack():
                    print(frame.f_globals.get('HOST_SECRET'))
            """,
            "frames of a generator": """
                def g(): yield
                print(g().gi_frame.f_globals['HOST_SECRET'])
            """,
            "objects of the collector": """
                import gc
                for found in gc.get_objects():
                    if type(found) is dict and 'HOST_SECRET' in found: print(found['HOST_SECRET'])
            """,
            "referrers of a tool": """
                import gc
                for found in gc.get_referrers(lookup):
                    if type(found) is dict and 'HOST_SECRET' in found: print(found['HOST_SECRET'])
            """,
            "what is left in memory": """
                import ctypes, gc
                backwards = b'tsoh-YRANAC-CTP'  # or it would find itself
                for found in gc.get_objects():
                    raw = ctypes.string_at(id(found), 64)
                    if any(raw[i:i + 15][::-1] == backwards for i in range(50)): print(raw)
            """,
        },
    ),
]

HOST_STATE = [
    Attack(
        "an environment variable",
        "host: os.environ.get('EVIL')",
        "import os\nos.environ['EVIL'] = '1'",
    ),
    Attack(
        "the path of imports",
        "host: '/evil' in sys.path",
        "import sys\nsys.path.insert(0, '/evil')",
    ),
    Attack("a constant of math", "host: math.inf == 5", "import math\nvars(math)['inf'] = 5"),
    Attack(
        "the recursion limit",
        "host: sys.getrecursionlimit() == 123456",
        "import sys\nsys.setrecursionlimit(123456)",
    ),
    Attack(
        "names of the host's module",
        "host: 'leaked' in globals()",
        "leaked = 1\nglobals()['leaked'] = 1",
    ),
    Attack("an attribute of a tool", "host: hasattr(lookup, 'evil')", "lookup.evil = 1"),
    Attack(
        "the defaults of a tool",
        "host: lookup.__defaults__ == ('evil',)",
        "lookup.__defaults__ = ('evil',)",
    ),
    Attack(
        "an argument that is more than data",
        "host: EVIL_CALLED > 0",
        """
        class Evil(str):
            def __hash__(self): return hash('a')
            def __eq__(self, other): return True
        await lookup(Evil('a'))
        """,
    ),
    Attack(
        "a result that is the host's own list",
        "host: 'evil' in HOST_DB['l']['xs']",
        "(await lookup('l'))['xs'].append('evil')",
    ),
    Attack(
        "a path of this machine in an error",
        "stdout: site-packages|/langchain_ptc/",
        """
        import traceback
        try: await lookup(1, 2, 3)
        except Exception as e:
            print(repr(e), traceback.format_exc())
            traceback.print_exc()
        """,
        dict.fromkeys(
            ("kernel", "kernel with files"),
            "a worker knows where its modules came from; the language hides it",
        ),
    ),
]

TAME = {
    "a subprocess of asyncio",
    "streams of asyncio",
    "a pool of processes",
    "a thread that writes later",
    "a finalizer that writes at exit",
    "a core file",
    "a descriptor that was left open",
    "a text in a traceback",
    "a syntax error that quotes a file",
    "a zoneinfo path",
    "a traceback into a file",
    "a temporary file",
    "the line, connected elsewhere",
}
"""These fail without walls too: by the limits, the program's loop, or the death of its process."""

REACH = [*EXECUTION, *FILES, *NETWORK, *SECRETS, *HOST_STATE]
