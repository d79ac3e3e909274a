"""Attacks on the kernel's walls themselves, by full CPython and by libc. x86-64 numbers."""

from __future__ import annotations

import textwrap

from tests.escapes.attacks import LIBC, Attack, table

_TRY = """
def attempt(what, result):
    print(what, 'DONE' if result >= 0 else 'refused', ctypes.get_errno())
buf = ctypes.create_string_buffer(4096)
"""

PROCESSES = [
    *table(
        "stdout: DONE",
        {
            "a fork bomb": """
                import os
                while True:
                    try: os.fork()
                    except OSError: break
                    print('DONE')
            """,
            "vfork": "attempt('vfork', c.syscall(58))",
            "clone without sharing": "attempt('clone', c.syscall(56, 17, 0, 0, 0, 0))",
            "clone with vfork's sharing": "attempt('clone', c.syscall(56, 0x4111, 0, 0, 0, 0))",
            "clone3": "attempt('clone3', c.syscall(435, buf, 88))",
            "ptrace of itself": "attempt('traceme', c.ptrace(0, 0, 0, 0))",
            "ptrace of process 1": "attempt('attach', c.ptrace(16, 1, 0, 0))",
            "memory of process 1": """
                iov = (ctypes.c_size_t * 2)(ctypes.addressof(buf), 64)
                attempt('read', c.process_vm_readv(1, iov, 1, iov, 1, 0))
                attempt('write', c.process_vm_writev(1, iov, 1, iov, 1, 0))
            """,
            "kill of the parent": """
                attempt('kill', c.kill(1, 9))
                attempt('all', c.kill(-1, 9))
                attempt('group', c.kill(0, 9))
            """,
            "signals by thread": """
                import threading
                attempt('tkill', c.syscall(200, 1, 9))
                attempt('tgkill', c.syscall(234, 1, 1, 9))
                attempt('sigqueue', c.syscall(129, 1, 9, buf))
            """,
            "a pidfd": """
                attempt('open', c.syscall(434, 1, 0))
                attempt('signal', c.syscall(424, 3, 9, 0, 0))
                attempt('getfd', c.syscall(438, 3, 0, 0))
            """,
            "priorities and processors": """
                attempt('affinity', c.sched_setaffinity(0, 8, buf))
                attempt('scheduler', c.sched_setscheduler(0, 1, buf))
                attempt('nice', c.setpriority(0, 0, -5))
                attempt('kcmp', c.syscall(312, 1, 1, 0, 0, 0))
            """,
        },
        LIBC + _TRY,
    ),
    Attack(
        "more threads than it may have",
        "stdout: THREADS True",
        LIBC
        + """
stacks = ctypes.create_string_buffer(4096 * 100)
base, started = ctypes.addressof(stacks), 0
sleep = ctypes.cast(c.sleep, ctypes.c_void_p)
while started < 6000:
    top = ctypes.c_void_p((base + (started % 99 + 1) * 4096 - 64) & ~15)
    if c.clone(sleep, top, 0x10f00, ctypes.c_void_p(100)) < 0: break
    started += 1
print('THREADS', started > 2048, started)
""",
    ),
]

_NAMESPACES = {
    "mount": 0x20000, "cgroup": 0x2000000, "uts": 0x4000000, "ipc": 0x8000000,
    "user": 0x10000000, "pid": 0x20000000, "net": 0x40000000, "io": 0x80000000,
    "pidfd": 0x1000, "ptrace": 0x2000, "vfork": 0x4000, "parent": 0x8000,
}  # fmt: skip
PROCESSES += [
    Attack(
        f"a thread with {name} of its own",
        "stdout: DONE",
        LIBC + _TRY + f"attempt('clone', c.syscall(56, {0x10F00 | flag}, 0, 0, 0, 0))",
    )
    for name, flag in _NAMESPACES.items()
]

WALLS = table(
    "stdout: DONE",
    {
        "namespaces": """
            for flag in (0x10000000, 0x20000, 0x40000000): attempt('unshare', c.unshare(flag))
            attempt('setns', c.setns(3, 0))
        """,
        "mounts": """
            attempt('mount', c.mount(b'none', b'/', b'tmpfs', 0, 0))
            attempt('umount', c.umount2(b'/', 2))
            attempt('pivot', c.syscall(155, b'.', b'.'))
            attempt('chroot', c.chroot(b'/'))
            attempt('fsopen', c.syscall(430, b'proc', 0))
            attempt('open_tree', c.syscall(428, -100, b'/', 1))
        """,
        "another program": """
            attempt('execve', c.execve(b'/bin/true', 0, 0))
            attempt('execveat', c.syscall(322, 3, b'', 0, 0, 0x1000))
            attempt('memfd', c.syscall(319, b'x', 0))
            attempt('memfd secret', c.syscall(447, 0))
        """,
        "sockets": """
            for family in (1, 2, 10, 16, 17, 38, 40):
                for kind in (1, 2, 3, 5): attempt('socket', c.socket(family, kind, 0))
            attempt('pair', c.socketpair(1, 1, 0, buf))
            attempt('bind', c.bind(3, b'\\x01\\0\\0abstract', 11))
            attempt('connect', c.connect(3, b'\\x01\\0\\0abstract', 11))
            attempt('accept', c.accept(3, 0, 0))
            attempt('shutdown', c.shutdown(3, 0))
            attempt('option', c.setsockopt(3, 1, 7, buf, 4))
        """,
        "descriptors by the line": """
            attempt('sendmsg', c.sendmsg(3, buf, 0))
            attempt('recvmsg', c.recvmsg(3, buf, 0x40))
            attempt('sendmmsg', c.syscall(307, 3, buf, 1, 0))
            attempt('out of band', c.sendto(3, b'x', 1, 1, None, 0))
            attempt('peek out of band', c.recvfrom(3, buf, 1, 0x43, None, None))
        """,
        "new descriptors": """
            attempt('pipe', c.pipe(buf))
            attempt('dup', c.dup(3))
            attempt('dup2', c.dup2(3, 9))
            attempt('fcntl', c.fcntl(3, 0, 10))
            attempt('ioctl', c.ioctl(3, 0x8904, buf))
            attempt('eventfd', c.eventfd(0, 0))
            attempt('epoll', c.epoll_create1(0))
            attempt('signalfd', c.signalfd(-1, buf, 0))
            attempt('timerfd', c.timerfd_create(0, 0))
            attempt('inotify', c.inotify_init1(0))
            attempt('fanotify', c.fanotify_init(0, 0))
        """,
        "io_uring": """
            attempt('setup', c.syscall(425, 8, buf))
            attempt('enter', c.syscall(426, 3, 1, 0, 0, 0))
            attempt('register', c.syscall(427, 3, 0, 0, 0))
        """,
        "keys": """
            attempt('add', c.syscall(248, b'user', b'x', b'y', 1, -3))
            attempt('request', c.syscall(249, b'user', b'x', 0, -3))
            attempt('keyctl', c.syscall(250, 0, -3, 0))
        """,
        "the kernel's own machines": """
            attempt('bpf', c.syscall(321, 5, buf, 128))
            attempt('userfaultfd', c.syscall(323, 1))
            attempt('perf', c.syscall(298, buf, 0, -1, -1, 0))
            attempt('module', c.syscall(175, buf, 64, b''))
            attempt('kexec', c.syscall(246, 0, 0, 0, 0))
            attempt('syslog', c.syscall(103, 3, buf, 99))
        """,
        "messages and shared memory": """
            attempt('shmget', c.shmget(0, 4096, 0o1600))
            attempt('semget', c.semget(0, 1, 0o1600))
            attempt('msgget', c.msgget(0, 0o1600))
            attempt('mq_open', c.syscall(240, b'x', 0o102, 0o600, 0))
        """,
        "its own walls": """
            attempt('dumpable', c.prctl(4, 1, 0, 0, 0))
            attempt('death signal', c.prctl(1, 0, 0, 0, 0))
            attempt('another filter', c.syscall(317, 1, 0, buf))
            attempt('landlock', c.syscall(444, 0, 0, 1))
            attempt('rlimit', c.setrlimit(0, (ctypes.c_ulong * 2)(99, 99)))
            attempt('prlimit', c.syscall(302, 0, 0, 0, buf))
            attempt('personality', c.personality(0x0400000))
            attempt('arch_prctl', c.syscall(158, 0x1012, 0))
        """,
        "another user": """
            attempt('setuid', c.syscall(105, 0))
            attempt('setresuid', c.syscall(117, 0, 0, 0))
            attempt('setgroups', c.syscall(116, 0, 0))
            attempt('capset', c.syscall(126, buf, buf))
        """,
        "the clock and the name of the machine": """
            attempt('settime', c.syscall(227, 0, buf))
            attempt('adjtime', c.syscall(159, buf))
            attempt('name', c.sethostname(b'x', 1))
            attempt('reboot', c.syscall(169, 0xfee1dead, 672274793, 0, 0))
            attempt('timer', c.syscall(222, 0, 0, buf))
            attempt('alarm', c.setitimer(0, buf, 0))
        """,
        "memory that can be executed": """
            c.mmap.restype = ctypes.c_ssize_t
            for protection in (4, 5, 6, 7): attempt('mmap', c.mmap(None, 4096, protection, 34, -1, 0))
            page = c.mmap(None, 4096, 3, 34, -1, 0)
            attempt('mprotect', c.mprotect(ctypes.c_void_p(page), 4096, 5))
            attempt('pkey', c.syscall(329, ctypes.c_void_p(page), 4096, 5, -1))
            code = id(attempt) & ~4095
            attempt('its heap', c.mprotect(ctypes.c_void_p(code), 4096, 7))
            attempt('shadow stack', c.syscall(453, 0, 4096, 0))
        """,
        "memory that stays in the machine": """
            attempt('mlock', c.mlock(buf, 4096))
            attempt('mlockall', c.mlockall(1))
            attempt('remap', c.syscall(216, buf, 4096, 0, 0, 0))
            attempt('policy', c.syscall(238, 0, 0, 0))
        """,
        "locks with priorities": """
            word = ctypes.c_int(0)
            for operation in (6, 7, 8, 11, 12, 13):
                for private in (0, 128): attempt(operation, c.syscall(
                    202, ctypes.byref(word), operation | private, 1, None, ctypes.byref(word), 0))
        """,
    },
    LIBC + _TRY,
)

WALLS.append(
    Attack(
        "files by number",
        "stdout: DONE",
        LIBC
        + _TRY
        + textwrap.dedent("""
            attempt('open', c.syscall(2, b'/', 0, 0))
            attempt('openat', c.syscall(257, -100, b'/', 0, 0))
            attempt('openat2', c.syscall(437, -100, b'/', buf, 24))
            attempt('by handle', c.syscall(304, 3, buf, 0))
            attempt('stat', c.syscall(4, b'/', buf))
            attempt('statx', c.syscall(332, -100, b'/', 0, 0, buf))
            attempt('getcwd', c.syscall(79, buf, 4096))
        """),
        {"kernel with files": "they are the folder and its root, which is empty"},
    )
)

KERNEL = [*PROCESSES, *WALLS]
