"""Which nodes of a cluster code runs on, as they come, go and come back."""

from __future__ import annotations

import asyncio
import importlib.metadata
import os
import shutil
import subprocess
import sys
import textwrap
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from blockbuster import blockbuster_ctx

import langchain_ptc
from langchain_ptc import ProgrammaticToolExecutor, RaySandbox, SandboxError
from tests.support import ROOT
from tests.support.clusters import connected, kill
from tests.support.waiting import SECONDS, wait_for


def run(sandbox: RaySandbox, code: str = "print(1)") -> str:
    """Return what code prints."""
    result = ProgrammaticToolExecutor([], sandbox=sandbox).execute(code)
    assert result.status == "success", result
    return result.output


def run_host(code: str, *path: Path, **variables: str) -> str:
    """Run a host in a process of its own, and return what it prints."""
    done = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(code)],
        env={**os.environ, **variables, "PYTHONPATH": os.pathsep.join(map(str, (*path, ROOT)))},
        capture_output=True,
        text=True,
        check=False,
        timeout=SECONDS,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_code_runs_on_the_nodes_and_not_on_the_head(cluster, sandbox):
    """Each node that has a CPU has one actor, and the head none."""
    assert run(sandbox) == "1\n"
    assert wait_for(lambda: all(len(node.actors()) == 1 for node in cluster.nodes))
    assert cluster.head.actors() == []


def test_a_host_uses_no_ray(cluster):
    """The process that runs agents imports nothing of Ray, so nothing of it can end that process."""
    code = f"""
    import sys
    from langchain_ptc import ProgrammaticToolExecutor, RaySandbox
    with RaySandbox({cluster.address!r}) as sandbox:
        print(ProgrammaticToolExecutor([], sandbox=sandbox).execute("print(1)").output)
    print([name for name in sys.modules if name == "ray" or name.startswith("ray.")])
    """
    assert run_host(code).split() == ["1", "[]"]


def test_two_hosts_share_the_servers(cluster, sandbox):
    """A second host with the same options finds the actors of the first."""
    run(sandbox)
    with RaySandbox(cluster.address) as other:
        assert run(other) == run(sandbox)
        assert all(len(node.actors()) == 1 for node in cluster.nodes)


def test_a_node_that_joins_later_is_used(cluster, sandbox):
    """Code runs on a node that has joined the cluster after the host, once the others are full or gone."""
    run(sandbox)
    late = cluster.add()
    try:
        assert wait_for(lambda: late.id in connected(sandbox))
    finally:
        cluster.remove(late)
    assert wait_for(lambda: late.id not in connected(sandbox))
    assert run(sandbox) == "1\n"


def test_an_actor_that_was_killed_is_found_again(cluster, sandbox):
    """Ray starts it again, on another port and with another token."""
    run(sandbox)
    assert wait_for(lambda: len(connected(sandbox)) == 2)
    for node in cluster.nodes:
        kill(node.actors())
    assert run(sandbox) == "1\n"
    assert wait_for(lambda: len(connected(sandbox)) == 2)


def test_the_process_that_follows_the_cluster_may_die(cluster, sandbox):
    """Executions go on without it, as with a head node that is away, and it is started again."""
    run(sandbox)
    first = sandbox.follower_pid
    kill([first])
    assert run(sandbox) == "1\n"
    assert wait_for(lambda: sandbox.follower_pid not in (None, first))
    late = cluster.add()
    try:
        assert wait_for(lambda: late.id in connected(sandbox))
    finally:
        cluster.remove(late)


def test_servers_without_hosts_end(cluster):
    """Those of a former version or other options leave nothing behind."""
    with RaySandbox(cluster.address, idle_seconds=2.0, waiting_workers=1) as made:
        run(made)
        assert wait_for(lambda: len(connected(made)) == len(cluster.nodes))
        before = [len(node.actors()) for node in cluster.nodes]
    assert wait_for(lambda: [len(n.actors()) for n in cluster.nodes] == [b - 1 for b in before])


@pytest.fixture
def next_release(tmp_path: Path) -> Path:
    """Return a folder with the package as another release."""
    package = Path(langchain_ptc.__file__).parent
    shutil.copytree(package, tmp_path / "langchain_ptc")
    folder = tmp_path / "langchain_ptc-99.0.dist-info"
    folder.mkdir()
    (folder / "METADATA").write_text("Metadata-Version: 2.1\nName: langchain-ptc\nVersion: 99.0\n")
    return tmp_path


def test_two_releases_side_by_side(cluster, sandbox, next_release):
    """Each release has servers of its own, so one is rolled out while the other is in use."""
    run(sandbox)
    before = [len(node.actors()) for node in cluster.nodes]
    code = f"""
    import importlib.metadata
    from langchain_ptc import ProgrammaticToolExecutor, RaySandbox
    environment = {{"env_vars": {{"PYTHONPATH": {str(next_release)!r}}}}}
    with RaySandbox({cluster.address!r}, idle_seconds=2.0, actor_options={{"runtime_env": environment}}) as sandbox:
        print(ProgrammaticToolExecutor([], sandbox=sandbox).execute("print(1)").output)
    print(importlib.metadata.version("langchain-ptc"))
    """
    assert run_host(code, next_release).split() == ["1", "99.0"]
    assert run(sandbox) == "1\n"
    assert wait_for(lambda: [len(node.actors()) for node in cluster.nodes] == before)


def test_nodes_with_another_release(cluster, next_release):
    """A host whose release the nodes do not have says so, and not that there is no room."""
    code = f"""
    from langchain_ptc import ProgrammaticToolExecutor, RaySandbox, SandboxError
    with RaySandbox({cluster.address!r}, idle_seconds=2.0) as sandbox:
        try:
            ProgrammaticToolExecutor([], sandbox=sandbox).execute("print(1)")
        except SandboxError as error:
            print(error)
    """
    told = run_host(code, next_release)
    assert importlib.metadata.version("langchain-ptc") in told
    assert "99.0" in told


@pytest.mark.parametrize(
    ("options", "told"),
    [
        ({"imports": ["no_such_module"]}, "No module named 'no_such_module'"),
        ({"resource": "sandbox"}, "none is alive with some of the resource 'sandbox'"),
        ({"ray_init": {"nonsense": 1}}, "nonsense"),
    ],
)
def test_a_cluster_that_cannot_run_code(cluster, options, told):
    """The first execution says what is missing, and so does the next one."""
    with RaySandbox(cluster.address, idle_seconds=2.0, **options) as made:
        for _ in range(2):
            with pytest.raises(SandboxError, match=told):
                run(made)


@pytest.mark.parametrize("address", ["127.0.0.1:1", "ray://127.0.0.1:1"])
def test_an_address_where_nothing_listens(address):
    """It is said at once, and not after the minute for which Ray would try."""
    with (
        RaySandbox(address) as made,
        pytest.raises(SandboxError, match="nothing answers at its address"),
    ):
        run(made)


async def test_joining_blocks_no_event_loop(cluster):
    """Not a single blocking call is made on the loop of the caller."""
    with blockbuster_ctx():
        sandbox = RaySandbox(cluster.address)
        result = await ProgrammaticToolExecutor([], sandbox=sandbox).aexecute("print(1)")
    sandbox.close()  # which waits
    assert result.output == "1\n"


def test_a_forked_child_joins_for_itself(cluster):
    """A server that forks its workers after the first execution (gunicorn) goes on working."""
    code = f"""
    import os, sys
    from langchain_ptc import ProgrammaticToolExecutor, RaySandbox
    sandbox = RaySandbox({cluster.address!r})
    executor = ProgrammaticToolExecutor([], sandbox=sandbox)
    print(executor.execute("print(1)").output, flush=True)
    if pid := os.fork():
        _, status = os.waitpid(pid, 0)
        print(executor.execute("print(3)").output, flush=True)
        sandbox.close()
        sys.exit(os.waitstatus_to_exitcode(status))
    print(executor.execute("print(2)").output, flush=True)
    sandbox.close()
    """
    assert run_host(code).split() == ["1", "2", "3"]


def test_nothing_is_left_of_a_host(cluster):
    """A sandbox that was closed leaves no thread and no process."""
    made = RaySandbox(cluster.address)
    run(made)
    follower = made.follower_pid
    made.close()
    assert wait_for(lambda: not Path(f"/proc/{follower}").exists())


def test_many_loops_at_once(cluster, sandbox):
    """Any number of threads, each with a loop of its own, may use one sandbox."""

    async def once() -> str:
        executor = ProgrammaticToolExecutor([], sandbox=sandbox)
        results = await asyncio.gather(*[executor.aexecute("print(1)") for _ in range(5)])
        return "".join(result.output for result in results)

    with ThreadPoolExecutor(4) as threads:
        assert list(threads.map(lambda _: asyncio.run(once()), range(4))) == ["1\n" * 5] * 4
