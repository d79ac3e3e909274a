"""The folder of a worker: what works in it, what it is bounded by, and that there is nothing else."""

from __future__ import annotations

import asyncio
import sys
from typing import Any

import pytest

from langchain_ptc import ProcessSandbox, SandboxError
from langchain_ptc.sandbox import Done, Program
from langchain_ptc.sandbox.host import process
from tests.support.sandboxes import open_sandbox

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="the folder is the kernel's")

FOLDER_BYTES = 2 * 2**20


@pytest.fixture(scope="module", params=["process", "remote"])
def sandbox(request: pytest.FixtureRequest) -> Any:
    """A sandbox whose workers have a folder, here or on a server."""
    with open_sandbox(request.param, files=FOLDER_BYTES) as made:
        yield made


def end_of(session: Any, program: Program) -> Done:
    """Run a program to its end."""
    return asyncio.run(session.run(program, lambda calls: None))


def run(sandbox: Any, code: str, **options: Any) -> Done:
    """Run code, which must succeed."""
    done = end_of(sandbox.session(), Program(code=code, **options))
    assert done.status == "success", done.failure
    return done


WORKS = {
    "open": """
with open("a.txt", "w") as file:
    file.write("one\\ntwo\\n")
with open("a.txt") as file:
    print([line.strip() for line in file])
#> ['one', 'two']
""",
    "os and os.path": """
import os
os.makedirs("a/b", exist_ok=True)
with open(os.path.join("a", "b", "c.txt"), "w") as file: file.write("x" * 10)
print([(place, sorted(names)) for place, _, names in os.walk(".")], os.path.getsize("a/b/c.txt"))
os.rename("a/b/c.txt", "d.txt")
os.remove("d.txt")
print(os.getcwd(), os.listdir("."), os.environ.get("PATH"), os.path.exists("/etc"))
#> [('.', []), ('./a', []), ('./a/b', ['c.txt'])] 10
#> /files ['a'] None False
""",
    "pathlib and glob": """
import glob
from pathlib import Path
folder = Path("out")
folder.mkdir()
(folder / "x.txt").write_text("hi")
print((folder / "x.txt").resolve(), [*Path(".").rglob("*.txt")], glob.glob("**/*.txt", recursive=True))
print(Path.home(), (folder / "x.txt").stat().st_size)
#> /files/out/x.txt [PosixPath('out/x.txt')] ['out/x.txt']
#> /files 2
""",
    "shutil": """
import os, shutil
os.mkdir("a")
open("a/x", "w").close()
shutil.copytree("a", "b")
shutil.copy2("a/x", "y")
shutil.move("y", "b/y")
print(sorted(os.listdir("b")))
print(shutil.make_archive("c", "zip", "b"))
shutil.unpack_archive("c.zip", "d")
shutil.rmtree("b")
print(sorted(os.listdir(".")), sorted(os.listdir("d")))
#> ['x', 'y']
#> /files/c.zip
#> ['a', 'c.zip', 'd'] ['x', 'y']
""",
    "tempfile": """
import os, tempfile
with tempfile.TemporaryDirectory() as place:
    print(place.startswith("/tmp/"), os.path.isdir(place))
with tempfile.NamedTemporaryFile("w+", suffix=".txt") as file:
    file.write("x")
    file.flush()
    print(os.path.getsize(file.name))
number, name = tempfile.mkstemp()
with os.fdopen(number, "w") as file:
    file.write("x")
print(os.path.exists(place), os.listdir("."))
#> True True
#> 1
#> False []
""",
    "csv, json and archives": """
import csv, gzip, json, tarfile, zipfile
with open("a.csv", "w", newline="") as file:
    csv.writer(file).writerows([["n"], [1]])
with open("a.json", "w") as file:
    json.dump({"n": 1}, file)
with zipfile.ZipFile("a.zip", "w", zipfile.ZIP_DEFLATED) as archive:
    archive.write("a.csv")
with tarfile.open("a.tar.gz", "w:gz") as archive:
    archive.add("a.json")
with gzip.open("a.gz", "wt") as file:
    file.write("x")
print(zipfile.ZipFile("a.zip").read("a.csv"), tarfile.open("a.tar.gz").getnames(), gzip.open("a.gz").read())
#> b'n\\r\\n1\\r\\n' ['a.json'] b'x'
""",
    "sqlite3": """
import sqlite3
with sqlite3.connect("a.db") as base:
    print(base.execute("pragma journal_mode=wal").fetchone())
    base.execute("create table t (n)")
    base.executemany("insert into t values (?)", [(1,), (2,)])
base.close()
print(sqlite3.connect("a.db").execute("select sum(n) from t").fetchone())
#> ('wal',)
#> (3,)
""",
    "without an import": """
print(os.path.join("a", "b"))
#> a/b
""",
}


@pytest.mark.parametrize("code", WORKS.values(), ids=WORKS)
def test_what_works(sandbox: Any, code: str) -> None:
    """Plain Python works on the files of the folder."""
    expected = [line[3:] for line in code.splitlines() if line.startswith("#> ")]
    assert run(sandbox, code).output.splitlines() == expected


def test_files_that_are_given(sandbox: Any) -> None:
    """The code finds the files that it is given, in folders as well."""
    files = {"in.csv": b"n\n1\n", "deep/er/x.bin": bytes(range(256))}
    code = "print(open('in.csv').read(), len(open('deep/er/x.bin', 'rb').read()))"
    assert run(sandbox, code, files=files).output == "n\n1\n 256\n"


def test_each_execution_has_a_folder_of_its_own(sandbox: Any) -> None:
    """What one execution has written, no other one finds."""
    run(sandbox, "open('left.txt', 'w').write('x')\nopen('/tmp/left', 'w').write('x')")
    code = "import os\nprint(os.listdir('.'), os.listdir('/tmp'), sorted(os.listdir('/')))"
    assert run(sandbox, code).output == "[] [] ['files', 'tmp']\n"


BOUNDS = {
    "bytes": "with open('a', 'wb') as file:\n    while True: file.write(bytes(65536))",
    "bytes of all files": "for n in range(99):\n    with open(f'{n}', 'wb') as file: file.write(bytes(65536))",
    "the length of a file": "with open('a', 'wb') as file: file.truncate(2**40)",
    "files": "for n in range(9999): open(f'{n}', 'w').close()",
    "folders": "import os\nfor n in range(9999): os.mkdir(f'{n}')",
    "open files": "held = [open('a', 'w') for _ in range(999)]",
}


@pytest.mark.parametrize("code", BOUNDS.values(), ids=BOUNDS)
def test_what_it_is_bounded_by(sandbox: Any, code: str) -> None:
    """The kernel refuses more than the folder may hold, and the code can go on."""
    indented = code.replace("\n", "\n    ")
    done = run(
        sandbox, f"try:\n    {indented}\nexcept OSError as error:\n    print(error.strerror)"
    )
    assert done.output.strip() in (
        "No space left on device",
        "File too large",
        "Too many open files",
    )


REFUSED = {
    "a link": "os.symlink('a', 'b')",
    "a hard link": "os.link('a', 'b')",
    "a pipe": "os.mkfifo('b')",
    "a device": "os.mknod('b', 0o020666, 0x103)",
    "another owner": "os.chown('a', 0, 0)",
    "another root": "os.chroot('.')",
    "a copy inside the kernel": "os.sendfile(3, os.open('a', os.O_RDONLY), 0, 1)",
    "an attribute": "os.setxattr('a', 'user.x', b'y')",
}


@pytest.fixture(scope="module")
def unrestricted() -> Any:
    """Workers with a folder and any Python."""
    pool = process.WorkerPool((), waiting=1, files_bytes=FOLDER_BYTES, policy=False)
    yield lambda code: end_of(
        process.WorkerSession(pool, "kernel", has_folder=True), Program(code=code)
    )
    pool.close()


@pytest.mark.parametrize("code", REFUSED.values(), ids=REFUSED)
def test_what_the_kernel_refuses(unrestricted: Any, code: str) -> None:
    """Only files and folders can be made, even by code that may name everything."""
    done = unrestricted(
        f"import os\nopen('a', 'w').close()\ntry: {code}\nexcept PermissionError: print('refused')"
    )
    assert done.output == "refused\n", done


def test_code_is_not_imported_from_the_folder(unrestricted: Any) -> None:
    """A module that the code writes is none."""
    done = unrestricted("open('mine.py', 'w').write('x = 1')\nimport mine")
    assert done.failure is not None
    assert done.failure.kind == "ModuleNotFoundError"


@pytest.mark.parametrize("size", [-1, 0, 4096, 2**50, 1.5, "64M"])
def test_a_size_that_is_none(size: Any) -> None:
    """A size is a whole number within bounds, and the error names them."""
    with pytest.raises(ValueError, match=r"files must be True, False or a size from 65,536"):
        ProcessSandbox(files=size)


@pytest.mark.parametrize("require", ["process", "any"])
def test_another_level(require: Any) -> None:
    """A folder needs the kernel's level."""
    with pytest.raises(ValueError, match="files=True needs level 'kernel'"):
        ProcessSandbox(files=True, require=require)


def test_another_system(monkeypatch: pytest.MonkeyPatch) -> None:
    """Where the kernel is another one, this is said at once."""
    monkeypatch.setattr(process.sys, "platform", "darwin")
    with pytest.raises(SandboxError, match="which darwin cannot do"):
        ProcessSandbox(files=True, require="kernel")


def test_a_machine_that_gives_no_folder() -> None:
    """The error says which step the kernel refused, and what to allow."""
    pool = process.WorkerPool((), waiting=1, walls=False)
    session = process.WorkerSession(pool, "any", has_folder=True)
    with pytest.raises(SandboxError, match=r"cannot give a worker a folder.*not installed"):
        end_of(session, Program(code="1"))
    pool.close()


def test_without_files_there_are_none() -> None:
    """Off is the default, and then `open` is refused and `os` is no module."""
    with ProcessSandbox() as plain:
        refused = end_of(plain.session(), Program(code="open('a')"))
        assert (refused.status, plain.files_bytes, "os" in plain.modules) == ("refused", 0, False)
