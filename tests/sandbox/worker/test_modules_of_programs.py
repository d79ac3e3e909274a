"""`threading`, `queue` and `logging` of the code do what Python's do: the same programs print the same text."""

from __future__ import annotations

import ast
import inspect
import logging
import subprocess
import sys
import warnings
from collections.abc import Iterator

import pytest

from langchain_ptc import InProcessSandbox, Limits, ProcessSandbox, ProgrammaticToolExecutor
from langchain_ptc.sandbox import Sandbox

PROGRAMS = {
    "threads and join": """
import threading
results = {}
def square(number, *, key):
    results[key] = number * number
threads = [threading.Thread(target=square, args=(n,), kwargs={"key": str(n)}) for n in range(4)]
for thread in threads:
    thread.start()
for thread in threads:
    thread.join()
print(results, [t.is_alive() for t in threads], threads[0].name, threads[0].daemon)
""",
    "nobody joins": """
import threading, time
def late():
    time.sleep(0.01)
    print("late")
threading.Thread(target=late).start()
print("first")
""",
    "nobody waits for a pool": """
from concurrent.futures import ThreadPoolExecutor
ThreadPoolExecutor(2).submit(print, "done")
""",
    "class with run": """
import threading
class Worker(threading.Thread):
    def __init__(self, number):
        super().__init__(name=f"worker-{number}")
        self.number = number
    def run(self):
        self.seen = threading.current_thread().name
workers = [Worker(n) for n in range(2)]
[w.start() for w in workers]
[w.join() for w in workers]
print([w.seen for w in workers], threading.current_thread() is threading.main_thread())
""",
    "lock": """
import threading
lock, total = threading.Lock(), 0
def add():
    global total
    for _ in range(100):
        with lock:
            total += 1
threads = [threading.Thread(target=add) for _ in range(5)]
[t.start() for t in threads]
[t.join() for t in threads]
lock.acquire()
print(total, lock.acquire(blocking=False), lock.acquire(timeout=0.01), lock.locked())
lock.release()
try:
    lock.release()
except RuntimeError as error:
    print(error)
""",
    "reentrant lock": """
import threading
lock = threading.RLock()
with lock, lock:
    taken = []
    t = threading.Thread(target=lambda: taken.append(lock.acquire(blocking=False)))
    t.start(); t.join()
print(taken)
""",
    "event": """
import threading
event = threading.Event()
print(event.wait(0.01), event.is_set())
t = threading.Thread(target=lambda: print("heard", event.wait()))
t.start()
event.set()
t.join()
""",
    "condition": """
import threading
condition, items = threading.Condition(), []
def consume():
    with condition:
        condition.wait_for(lambda: len(items) == 2)
        print(items)
t = threading.Thread(target=consume)
t.start()
for n in range(2):
    with condition:
        items.append(n)
        condition.notify_all()
t.join()
with condition:
    print(condition.wait(0.01), condition.wait_for(lambda: False, 0.01))
""",
    "semaphore": """
import threading, time
gate, inside, most = threading.BoundedSemaphore(2), 0, 0
def work():
    global inside, most
    with gate:
        inside += 1
        most = max(most, inside)
        time.sleep(0.01)
        inside -= 1
threads = [threading.Thread(target=work) for _ in range(6)]
[t.start() for t in threads]
[t.join() for t in threads]
print(most)
try:
    gate.release()
except ValueError as error:
    print(error)
""",
    "timer": """
import threading
one, two = threading.Timer(0.01, print, ["ring"]), threading.Timer(60, print, ["never"])
one.start(); two.start(); two.cancel()
one.join(); two.join()
print(isinstance(one, threading.Thread), one.is_alive())
""",
    "local": """
import threading
mine = threading.local()
mine.x = 1
def look(): print(hasattr(mine, "x"))
t = threading.Thread(target=look); t.start(); t.join()
print(mine.x)
""",
    "wrong use": """
import threading
t = threading.Thread(target=list)
for call in (t.join, lambda: (t.start(), t.start()), threading.current_thread().join):
    try:
        call()
    except RuntimeError as error:
        print(error)
""",
    "queue": """
import queue, threading
jobs, done = queue.Queue(maxsize=2), []
def work():
    while True:
        job = jobs.get()
        done.append(job * 2)
        jobs.task_done()
threading.Thread(target=work, daemon=True).start()
for n in range(7):
    jobs.put(n)
jobs.join()
print(done, jobs.empty(), jobs.qsize())
for call in (jobs.get_nowait, lambda: jobs.get(timeout=0.01), lambda: [jobs.put_nowait(1) for _ in range(9)]):
    try:
        call()
    except (queue.Empty, queue.Full) as error:
        print(type(error).__name__)
last, first = queue.LifoQueue(), queue.PriorityQueue()
for n in (2, 3, 1):
    last.put(n); first.put(n)
print(last.get(), first.get())
""",
    "queue that is shut down": """
import queue, threading
jobs = queue.Queue(maxsize=1)
def work():
    try:
        while True:
            print("got", jobs.get())
    except queue.ShutDown:
        print("the end")
if hasattr(jobs, "shutdown"):  # from Python 3.13 on
    t = threading.Thread(target=work)
    t.start()
    for n in range(3):
        jobs.put(n)
    jobs.shutdown()
    t.join()
    full = queue.Queue(maxsize=1)
    full.put(1)
    for call in (lambda: jobs.put(1), lambda: jobs.put(1, block=False), lambda: jobs.get(timeout=1), jobs.get_nowait,
                 lambda: full.put(2, timeout=0.01), lambda: full.shutdown(immediate=True), full.join, full.get):
        try:
            print(call())
        except (queue.ShutDown, queue.Full) as error:
            print(type(error).__name__)
""",
    "log without configuration": """
import logging
logging.getLogger("a").info("not shown")
logging.getLogger("a.b").warning("shown %d", 1)
""",
    "log with configuration": """
import logging
logging.basicConfig(level=logging.DEBUG)
log = logging.getLogger("shop")
log.debug("one"); log.info("%s and %s", 1, 2); log.warning("%(x)s", {"x": 3})
log.error("four"); log.critical("five"); log.log(35, "six")
log.setLevel("ERROR")
log.info("not shown")
logging.info("root")
print(log.isEnabledFor(20), log.getEffectiveLevel(), logging.getLevelName(20), log.getChild("a").name)
""",
    "log formats": """
import logging
for style, text in (("%", "%(levelname)-8s|%(name)s|%(message)s"), ("{", "{levelname:>9} {message}"), ("$", "$name: $message")):
    logging.basicConfig(format=text, style=style, level="INFO", force=True)
    logging.getLogger("shop").info("text")
""",
    "log handlers": """
import io, logging
stream = io.StringIO()
handler = logging.StreamHandler(stream)
handler.setFormatter(logging.Formatter("%(message)s!"))
handler.setLevel(logging.WARNING)
log = logging.getLogger("shop.till")
log.addHandler(handler)
log.propagate = False
log.setLevel(logging.INFO)
log.info("low"); log.warning("high")
class Collect(logging.Handler):
    def __init__(self):
        super().__init__()
        self.seen = []
    def emit(self, record):
        self.seen.append((record.levelname, record.getMessage(), record.name, getattr(record, "customer", None)))
collect = Collect()
logging.getLogger().addHandler(collect)
logging.getLogger("other").error("x %s", "y", extra={"customer": 7})
log.addFilter(lambda record: "secret" not in record.getMessage())
log.warning("secret"); log.warning("open")
print(stream.getvalue().split(), collect.seen, log.hasHandlers())
logging.disable(logging.ERROR)
logging.getLogger("other").error("not shown")
print(len(collect.seen))
""",
    "filters and adapters": """
import logging
logging.addLevelName(25, "NOTE")
logging.basicConfig(level=1, format="%(lineno)d %(funcName)s %(levelname)s %(message)s")
class Only(logging.Filter):
    def filter(self, record): return "secret" not in record.getMessage()
log = logging.getLogger("shop")
log.addFilter(Only())
def sell(): logging.LoggerAdapter(log, {"till": 1}).log(25, "sold")
sell(); log.info("secret")
""",
    "errors of logging": """
import logging
for call in (lambda: logging.getLogger("a").setLevel("LOUD"), lambda: logging.Formatter(style="?"),
             lambda: logging.getLogger("a").log("INFO", "x")):
    try:
        call()
    except (ValueError, TypeError) as error:
        print(type(error).__name__, error)
""",
}


@pytest.fixture(params=["process", "in process"], scope="module")
def sandbox(request: pytest.FixtureRequest) -> Iterator[Sandbox]:
    made = ProcessSandbox() if request.param == "process" else InProcessSandbox()
    with made:
        yield made


def run(code: str, sandbox: Sandbox) -> str:
    result = ProgrammaticToolExecutor([], sandbox=sandbox, limits=Limits(wall_seconds=60)).execute(
        code
    )
    assert result.error is None, result.report()
    return result.output


@pytest.mark.parametrize("code", PROGRAMS.values(), ids=PROGRAMS)
def test_a_program_prints_what_python_prints(code: str, sandbox: Sandbox) -> None:
    """The output is that of Python itself, standard error included."""
    real = subprocess.run(
        [sys.executable, "-u", "-c", code],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        check=True,
    )
    assert run(code, sandbox) == real.stdout


def test_an_exception_in_a_thread_is_printed(sandbox: Sandbox) -> None:
    """A thread that fails ends with its traceback, in terms of the code, and the program goes on."""
    code = "import threading\nt = threading.Thread(target=lambda: 1 / 0, name='t')\nt.start(); t.join()\nprint('on')"
    lines = run(code, sandbox).splitlines()
    assert lines[0] == "Exception in thread t:"
    assert lines[-2:] == ["ZeroDivisionError: division by zero", "on"]


def test_an_exception_is_logged_with_the_frames_of_the_code(sandbox: Sandbox) -> None:
    """`logger.exception` shows where in the code the exception was raised, and no path of the machine."""
    code = "import logging\ntry:\n    1 / 0\nexcept ZeroDivisionError:\n    logging.exception('failed')"
    output = run(code, sandbox)
    assert output.startswith("ERROR:root:failed\nTraceback (most recent call last):\n  line 3")
    assert "/" not in output.replace("1 / 0", "")


def test_logs_of_the_process_are_out_of_reach(
    sandbox: Sandbox, caplog: pytest.LogCaptureFixture
) -> None:
    """What the code logs reaches no logger of the host, and what it sets changes none."""
    run(
        "import logging\nlogging.disable(50)\nlogging.getLogger('langchain_ptc').error('x')",
        sandbox,
    )
    assert not caplog.records


@pytest.mark.parametrize("code", ["import logging.handlers", "from logging import FileHandler"])
def test_log_files_are_refused(code: str, sandbox: Sandbox) -> None:
    """A program that wants to log into files is told at once that it cannot."""
    result = ProgrammaticToolExecutor([], sandbox=sandbox).execute(code)
    assert result.status in ("refused", "error")
    assert "logging" in result.report()


WAYS_OUT = {
    "a format": "logging.basicConfig(format='{exc_info[1].__traceback__}', style='{')\nlogging.error('x', exc_info=error)",
    "a style that is set": "f = logging.Formatter(style='{')\nf.__dict__['_style'].__dict__['_fmt'] = '{exc_info[1].__class__}'\n"
    "print(f.format(Keep.last))",
    "a text that a handler formats with": "h = logging.StreamHandler()\nh.setFormatter('{0.__class__.__init__.__globals__}')\n"
    "h.emit(Keep.last)",
    "a text as the style of a formatter": "f = logging.Formatter()\nf.__dict__['_style'] = '{0.__class__.__init__.__globals__}'\n"
    "print(f.formatMessage(Keep.last))",
    "attributes of a class, as values of a format": """
class Taker:
    taken = {}
    def __mod__(self, values): Taker.taken = values
    def substitute(self, **values): Taker.taken = values
for style, part in (("%", "_fmt"), ("$", "_tpl"), ("{", "_fmt")):
    formatter = logging.Formatter(style=style)
    formatter.__dict__["_style"].__dict__[part] = Taker() if style != "{" else "{__getattribute__}"
    try:
        print(formatter.formatMessage(object), Taker.taken)
    except TypeError:
        pass
""",
    "a traceback": "if Keep.last.exc_info[2]: print('out')",
    "a name that no attribute has": "if {'__class__', '_ptc_x'} & Keep.last.__dict__.keys(): print('out')",
    "the caller of the program": "if logging.getLogger().findCaller(True, 30)[0] != '<code>': print('out')",
    "a stack": "logging.error('x', stack_info=True)\nif Keep.last.stack_info: print('out')",
    "a file": "logging.basicConfig(filename='x')",
    "globals": "print(getattr(logging.Logger.findCaller, '__glo' + 'bals__'))",
    "a module": """
seen, queue = set(), [(logging, 0), (Keep.last, 0), (logging.root, 0), (logging.root.manager, 0), (logging.Formatter(), 0)]
while queue:
    thing, level = queue.pop()
    if id(thing) not in seen and not isinstance(thing, (str, int, float)):
        seen.add(id(thing))
        if thing is not logging and type(thing).__name__ in ("module", "frame", "code", "traceback"):
            print("out", thing)
        parts = [getattr(thing, name, None) for name in dir(thing) if name != "__dict__"] if level < 2 else []
        parts += list(thing.values() if isinstance(thing, dict) else thing if isinstance(thing, (list, tuple)) else ())
        queue += [(part, level + 1) for part in parts]
""",
}


@pytest.mark.parametrize("code", WAYS_OUT.values(), ids=WAYS_OUT)
def test_logging_leads_nowhere(code: str, sandbox: Sandbox) -> None:
    """What the code has of `logging` leads to no frame, module or file, by what it formats either."""
    begin = """
import logging
class Keep(logging.Handler):
    def emit(self, record): Keep.last = record
logging.root.addHandler(Keep())
try:
    1 / 0
except ZeroDivisionError as raised:
    error = raised
logging.error("x", exc_info=error, extra={"__class__": int, "_ptc_x": 1})
logging.root.handlers.clear()
logging.root.addHandler(Keep())
"""
    executor = ProgrammaticToolExecutor([], sandbox=sandbox, check="off")
    before = warnings.showwarning
    result = executor.execute(f"{begin}logging.captureWarnings(True)\n{code}")
    assert result.output == ""
    assert result.error is None or result.error.kind in ("AttributeError", "ValueError")
    assert warnings.showwarning is before


# --- the source of logging --------------------------------------------------------------------------

_TRUSTED = frozenset(
    [
        "__dict__",
        "__class__",
        "__globals__",
        "__code__",
        "f_back",
        "f_code",
        "f_globals",
        "f_locals",
        "tb_frame",
        "tb_next",
        "format",
        "format_map",
        "vformat",
        "substitute",
        "safe_substitute",
        "_fmt",
        "_tpl",
        "getattr",
        "setattr",
        "delattr",
        "vars",
        "eval",
        "exec",
        "open",
        "__import__",
        "compile",
        "globals",
    ]
)
"""What leads from an object to its insides, or formats by a text."""
_REVIEWED = frozenset(
    [
        "__code__",
        "BufferingFormatter.format",
        "Formatter.__init__",
        "Formatter.formatMessage",
        "Handler.format",
        "Handler.handleError",
        "Logger.findCaller",
        "Logger.makeRecord",
        "PercentStyle.__init__",
        "PercentStyle._format",
        "PercentStyle.usesTime",
        "PercentStyle.validate",
        "StrFormatStyle._format",
        "StrFormatStyle.validate",
        "StreamHandler.emit",
        "StringTemplateStyle.__init__",
        "StringTemplateStyle._format",
        "StringTemplateStyle.usesTime",
        "StringTemplateStyle.validate",
        "_is_internal_frame",
        "currentframe",
        *("FileHandler.__init__", "PercentStyle", "StrFormatStyle", "makeLogRecord"),
        "shutdown",
        "FileHandler.__repr__",
        "Handler.__repr__",
        "Logger.__repr__",
        "LoggerAdapter.__repr__",
        "StreamHandler.__repr__",
    ]
)
"""Where the source does that in Python 3.11 to 3.14: harmless, or replaced by `build_logging_names`."""


def test_logging_trusts_its_objects_only_where_that_was_reviewed() -> None:
    """A Python whose `logging` reaches into objects in a further place must be reviewed before code gets it."""
    found: set[str] = set()

    def look(node: ast.AST, within: str) -> None:
        for child in ast.iter_child_nodes(node):
            name = within
            if isinstance(child, ast.FunctionDef | ast.ClassDef):
                name = f"{within}.{child.name}".lstrip(".")
            if isinstance(child, ast.Attribute) and child.attr in _TRUSTED:
                found.add(name or child.attr)
            if isinstance(child, ast.Name) and child.id in _TRUSTED:
                found.add(name or child.id)
            look(child, name)

    look(ast.parse(inspect.getsource(logging)), "")
    assert found
    assert found <= _REVIEWED
