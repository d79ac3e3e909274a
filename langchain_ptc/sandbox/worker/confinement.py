"""What the kernel refuses to a worker. Linux; standard library only.

Two groups of layers. The first is installed once, in the parent of workers, and inherited:
`namespaces` (no network, no other process, no mounts), `empty_root` (an empty read-only file system),
`landlock` (no file, socket or signal rights) and `capabilities` (none, for good). The second is
installed in each worker, between its limits and its program: `no_new_privs`, `rlimits` and `seccomp`.

A worker with a folder (`files`) mounts an empty file system of its own in its own mount namespace, and
makes it its root. It needs a capability for that, so `capabilities` and `landlock` are then installed in
each worker, after the mount; Landlock grants the folder, and `seccomp` admits the calls that files need.

`seccomp` alone stops every attack of the tests: it admits the few system calls that Python needs to
compute and to talk over the one socket that it has, and answers all others with EPERM. The other
layers are second walls behind it. Each is tried, and what the kernel refuses is reported.

Sources: seccomp(2), landlock(7), user_namespaces(7), capabilities(7); classic BPF as in
linux/filter.h. Everything goes through libc by ctypes, so that no helper program and no compiled
extension is needed.
"""

from __future__ import annotations

import ctypes
import errno
import itertools
import os
import struct
import sys
from collections.abc import Callable
from pathlib import Path

try:
    import resource
except ImportError:  # Windows; and imported here, because a worker has no files to import it from
    resource = None  # type: ignore[assignment]

LINUX = sys.platform == "linux"

_libc = ctypes.CDLL(None, use_errno=True) if LINUX else None
if _libc is not None:
    _libc.prctl.argtypes = (ctypes.c_int, *[ctypes.c_ulong] * 4)

# Numbers of prctl, see its manual page.
_PR_SET_PDEATHSIG = 1
_PR_SET_DUMPABLE = 4
_PR_SET_SECCOMP = 22
_PR_CAPBSET_DROP = 24
_PR_SET_NO_NEW_PRIVS = 38
_SECCOMP_MODE_FILTER = 2
_SIGKILL = 9

# Flags of unshare and clone.
_CLONE_NEWNS = 0x00020000
_CLONE_NEWUTS = 0x04000000
_CLONE_NEWIPC = 0x08000000
_CLONE_NEWUSER = 0x10000000
_CLONE_NEWPID = 0x20000000
_CLONE_NEWNET = 0x40000000
_CLONE_THREAD = 0x00010000
_CLONE_THREAD_FLAGS = 0x007D0F00
"""What libc starts a thread with: everything shared, nothing new."""
_NEW_NAMESPACES = _CLONE_NEWNET | _CLONE_NEWPID | _CLONE_NEWNS | _CLONE_NEWIPC | _CLONE_NEWUTS
"""Those that a worker gets besides that of users."""

# Flags of mount.
_MS_RDONLY, _MS_NOSUID, _MS_NODEV, _MS_NOEXEC, _MS_REMOUNT, _MS_BIND = 1, 2, 4, 8, 32, 4096
_MS_REC, _MS_PRIVATE = 16384, 1 << 18
_LOCKED = _MS_NOSUID | _MS_NODEV | _MS_NOEXEC
_MNT_DETACH = 2

_PROT_EXEC = 4
_MSG_DONTWAIT, _MSG_WAITALL, _MSG_NOSIGNAL = 0x40, 0x100, 0x4000
_FUTEX_OPERATION = 0x7F
_FIRST_FUTEX_OF_PRIORITIES = 6
_FUTEX_BITSETS = (9, 10)
"""Wait and wake, among those with priorities."""
_NOBODY = 65534
_TO_BECOME_NOBODY = 0b111 << 5
"""CAP_KILL, CAP_SETGID and CAP_SETUID."""
FOLDER = "/files"
"""Where code with files works, in a file system of its own."""
_MOUNT_POINT = "/new"
MAX_FILES = 4096
"""Files and folders of one worker: each takes memory of the kernel."""
_MAX_OPEN_FILES = 256
_MAX_THREADS = 2048
"""Of all workers of one parent together."""
# the same on both machines
_SYS_LANDLOCK_CREATE_RULESET, _SYS_LANDLOCK_ADD_RULE, _SYS_LANDLOCK_RESTRICT_SELF = 444, 445, 446
_LANDLOCK_RULE_PATH_BENEATH = 1
_LANDLOCK_FOLDER = 0b0110_0001_1011_1110
"""Files and folders may be read, written, made, removed, renamed and truncated; no other kind of file, and
nothing is executed."""
_SYS_PIVOT_ROOT = {"x86_64": 155, "aarch64": 41}


def _check(result: int, what: str) -> int:
    if result < 0:
        number = ctypes.get_errno()
        raise OSError(number, f"{what}: {os.strerror(number)}")
    return result


def _prctl(what: str, option: int, first: int, second: int = 0) -> None:
    assert _libc is not None
    _check(_libc.prctl(option, first, second, 0, 0), what)


# --- once, in the parent of workers -----------------------------------------------------------------


def enter_namespaces() -> None:
    """Move into namespaces of our own, as nobody; the next child is process 1 of its own world.

    Root becomes nobody outside too: the kernel counts no threads of root, so one worker could
    use up the process ids of the machine.
    """
    assert _libc is not None
    uid, gid = os.geteuid(), os.getegid()
    become_nobody = uid == 0 and _may_become_nobody()
    if become_nobody:
        os.setgroups([])
        uid = gid = _NOBODY
    reader, writer = os.pipe()
    if not (child := os.fork()):  # only from outside may another user than one's own be mapped
        os.close(writer)
        os._exit(_map_users(os.getppid(), uid, gid) if os.read(reader, 1) else 0)
    os.close(reader)
    try:
        _check(_libc.unshare(_CLONE_NEWUSER), "unshare")
        os.write(writer, b"!")
    finally:
        os.close(writer)
        status = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    if status < 0:  # somebody killed the child: whoever started this process does it again
        os._exit(1)
    try:
        if status:
            ctypes.set_errno(status)
            _check(-1, "uid_map")
        # Last: once the first child in a process namespace has ended, no other can be forked.
        _check(_libc.unshare(_NEW_NAMESPACES), "unshare")
    except OSError:
        drop_capabilities()  # those of the user namespace that it is in by now
        raise
    if become_nobody:
        os.setresgid(_NOBODY, _NOBODY, _NOBODY)
        os.setresuid(_NOBODY, _NOBODY, _NOBODY)


def _map_users(pid: int, uid: int, gid: int) -> int:
    """Make one user and group the only ones in the user namespace of `pid`; return the errno."""
    try:
        for name, text in (
            ("setgroups", "deny"),
            ("uid_map", f"{_NOBODY} {uid} 1"),
            ("gid_map", f"{_NOBODY} {gid} 1"),
        ):
            Path(f"/proc/{pid}/{name}").write_text(text)
    except OSError as error:
        return error.errno or errno.EPERM
    return 0


def _may_become_nobody() -> bool:
    """Whether this root may change its user, and the host, root as well, may still end workers."""
    status = Path("/proc/self/status").read_text()
    effective = int(status.partition("CapEff:")[2].split()[0], 16)
    return effective & _TO_BECOME_NOBODY == _TO_BECOME_NOBODY


def empty_root() -> None:
    """Make an empty read-only file system the root; needs the mount namespace."""
    _mount(None, b"/", None, _MS_REC | _MS_PRIVATE, b"")
    _change_root(b"/tmp", b"size=4k,nr_inodes=4,mode=555")  # only the mount point
    os.mkdir(_MOUNT_POINT, 0o555)  # noqa: PTH102
    _mount(None, b"/", None, _MS_REMOUNT | _MS_BIND | _MS_RDONLY | _LOCKED, b"")


def _mount(source: bytes | None, at: bytes, kind: bytes | None, flags: int, data: bytes) -> None:
    assert _libc is not None
    _check(_libc.mount(source, at, kind, ctypes.c_ulong(flags), data), "mount")


def _change_root(at: bytes, options: bytes) -> None:
    """Mount an empty file system in memory at a folder, make it the root, and leave the old root."""
    assert _libc is not None
    _mount(b"tmpfs", at, b"tmpfs", _LOCKED, options)
    os.chdir(at)
    number = _SYS_PIVOT_ROOT[os.uname().machine]
    _check(_libc.syscall(number, b".", b"."), "pivot_root")
    _check(_libc.umount2(b".", _MNT_DETACH), "umount2")
    os.chdir("/")


def restrict_by_landlock(folder: str | None = None) -> None:
    """Give up every right that Landlock knows (files, TCP, abstract sockets, signals outwards), but files below `folder`."""
    assert _libc is not None
    abi = _libc.syscall(_SYS_LANDLOCK_CREATE_RULESET, None, ctypes.c_size_t(0), 1)
    _check(abi, "landlock")
    files = (1 << (13 + (abi >= 2) + (abi >= 3) + (abi >= 5))) - 1
    network = 3 if abi >= 4 else 0
    scopes = 3 if abi >= 6 else 0
    rules = struct.pack("=QQQ", files, network, scopes)
    size = 8 if abi < 4 else 16 if abi < 6 else 24
    attributes = ctypes.create_string_buffer(rules, len(rules))
    ruleset = _libc.syscall(_SYS_LANDLOCK_CREATE_RULESET, attributes, ctypes.c_size_t(size), 0)
    _check(ruleset, "landlock_create_ruleset")
    if folder is not None:
        beneath = os.open(folder, os.O_PATH)
        rule = struct.pack("=Qi", files & _LANDLOCK_FOLDER, beneath)
        kind = _LANDLOCK_RULE_PATH_BENEATH
        added = _libc.syscall(
            _SYS_LANDLOCK_ADD_RULE, ruleset, kind, ctypes.create_string_buffer(rule, len(rule)), 0
        )
        _check(added, "landlock_add_rule")
        os.close(beneath)
    no_new_privs()
    _check(_libc.syscall(_SYS_LANDLOCK_RESTRICT_SELF, ruleset, 0), "landlock_restrict_self")
    os.close(ruleset)


def drop_capabilities() -> None:
    """Empty every capability set, so that being root, or root of a namespace, is worth nothing."""
    assert _libc is not None
    for capability in range(64):
        if _libc.prctl(_PR_CAPBSET_DROP, capability, 0, 0, 0) < 0:
            break
    header = ctypes.create_string_buffer(struct.pack("=II", 0x20080522, 0), 8)
    _check(_libc.capset(header, ctypes.create_string_buffer(24)), "capset")


def die_with_parent() -> None:
    """Have the kernel kill this process when its parent ends.

    Never asked of the host's own child: there it would fire when the thread that started it ends.
    """
    _prctl("death signal", _PR_SET_PDEATHSIG, _SIGKILL)


def no_new_privs() -> None:
    """Rule out every gain of rights by executing something; seccomp and Landlock ask for it."""
    _prctl("no_new_privs", _PR_SET_NO_NEW_PRIVS, 1)


def not_dumpable() -> None:
    """Hide this process's memory from others of the same user, and leave no core file; inherited."""
    _prctl("dumpable", _PR_SET_DUMPABLE, 0)


def limit_files(max_bytes: int) -> None:
    """Limit the size of a file, and forbid cores and locked memory, to this process and those that it forks."""
    for name, most in (("RLIMIT_FSIZE", max_bytes), ("RLIMIT_CORE", 0), ("RLIMIT_MEMLOCK", 0)):
        _limit(name, most, most)


def _limit(name: str, soft: int, hard: int) -> None:
    assert resource is not None
    which = getattr(resource, name, None)
    if which is None:
        return
    ceiling = resource.getrlimit(which)[1]
    if ceiling != resource.RLIM_INFINITY:
        soft, hard = min(soft, ceiling), min(hard, ceiling)
    resource.setrlimit(which, (soft, hard))


# --- in each worker -----------------------------------------------------------------------------


def enter_folder(max_bytes: int) -> None:
    """Make an empty file system in memory, of this process alone, its root; then give up all rights over it.

    Its pages count against no limit of the process, so the file system is bounded itself. It goes with it.
    """
    assert _libc is not None
    _check(_libc.unshare(_CLONE_NEWNS), "unshare")
    _change_root(
        _MOUNT_POINT.encode(), b"size=%d,nr_inodes=%d,mode=700" % (max_bytes, MAX_FILES + 3)
    )
    for folder in (FOLDER, "/tmp"):  # noqa: S108  # everything here is ours
        os.mkdir(folder, 0o700)  # noqa: PTH102
    os.chdir(FOLDER)
    drop_capabilities()
    _limit("RLIMIT_NOFILE", _MAX_OPEN_FILES, _MAX_OPEN_FILES)


def limit_threads() -> None:
    """Limit the threads of this user, who must be ours alone: stacks can be a page, and so many."""
    _limit("RLIMIT_NPROC", _MAX_THREADS, _MAX_THREADS)


def set_rlimits(*, cpu_seconds: int, address_bytes: int) -> None:
    """Limit processor time, and address space with what is in use already."""
    # soft: SIGXCPU, which is handled; hard: SIGKILL
    _limit("RLIMIT_CPU", cpu_seconds, cpu_seconds + 1)
    if LINUX:  # elsewhere the address space cannot be limited
        _limit("RLIMIT_AS", address_bytes, address_bytes)


# System calls that Python needs to compute, to allocate, to sleep, to run threads that take turns,
# and to talk over a socket that it has. None of them opens, connects, executes or signals.
ALLOWED = {
    "x86_64": {
        "read": 0, "write": 1, "close": 3, "poll": 7, "munmap": 11, "brk": 12,
        "rt_sigaction": 13, "rt_sigprocmask": 14, "rt_sigreturn": 15, "sched_yield": 24,
        "mremap": 25, "madvise": 28, "nanosleep": 35, "getpid": 39, "sendto": 44,
        "recvfrom": 45, "exit": 60, "sigaltstack": 131, "gettid": 186, "futex": 202,
        "restart_syscall": 219, "clock_gettime": 228, "clock_getres": 229,
        "clock_nanosleep": 230, "exit_group": 231, "ppoll": 271, "set_robust_list": 273,
        "getrandom": 318, "rseq": 334,
    },
    "aarch64": {
        "close": 57, "read": 63, "write": 64, "ppoll": 73, "exit": 93, "exit_group": 94,
        "futex": 98, "set_robust_list": 99, "nanosleep": 101, "clock_gettime": 113,
        "clock_getres": 114, "clock_nanosleep": 115, "sched_yield": 124,
        "restart_syscall": 128, "sigaltstack": 132, "rt_sigaction": 134,
        "rt_sigprocmask": 135, "rt_sigreturn": 139, "getpid": 172, "gettid": 178,
        "sendto": 206, "recvfrom": 207, "brk": 214, "munmap": 215, "mremap": 216,
        "madvise": 233, "getrandom": 278, "rseq": 293,
    },
}  # fmt: skip
# What files take besides. No links, no devices, no pipes, no ownership, no extended attributes.
FILE_CALLS = {
    "x86_64": {
        "stat": 4, "fstat": 5, "lstat": 6, "lseek": 8, "pread64": 17, "pwrite64": 18,
        "access": 21, "msync": 26, "fsync": 74, "fdatasync": 75, "truncate": 76, "ftruncate": 77,
        "getcwd": 79, "chdir": 80, "rename": 82, "mkdir": 83, "rmdir": 84, "unlink": 87,
        "chmod": 90, "fchmod": 91, "statfs": 137, "fstatfs": 138, "getdents64": 217,
        "openat": 257, "mkdirat": 258, "newfstatat": 262, "unlinkat": 263, "renameat": 264,
        "fchmodat": 268, "faccessat": 269, "utimensat": 280, "faccessat2": 439,
    },
    "aarch64": {
        "getcwd": 17, "mkdirat": 34, "unlinkat": 35, "renameat": 38, "statfs": 43, "fstatfs": 44,
        "truncate": 45, "ftruncate": 46, "faccessat": 48, "chdir": 49, "fchmod": 52,
        "fchmodat": 53, "openat": 56, "getdents64": 61, "lseek": 62, "pread64": 67,
        "pwrite64": 68, "newfstatat": 79, "fstat": 80, "fsync": 82, "fdatasync": 83,
        "utimensat": 88, "msync": 227, "faccessat2": 439,
    },
}  # fmt: skip
_FCNTL = {"x86_64": 72, "aarch64": 25}
_FCNTL_COMMANDS = (1, 2, 3, 5, 6, 1030)
"""Flags of a descriptor, locks of records, and a second descriptor for what one has."""
_IOCTL = {"x86_64": 16, "aarch64": 29}
_CLOSE_ON_EXEC = 0x5451
_LIST_XATTR = {"x86_64": (194, 195), "aarch64": (11, 12)}
MMAP_LIKE = {"x86_64": {"mmap": 9, "mprotect": 10}, "aarch64": {"mmap": 222, "mprotect": 226}}
_CLONE = {"x86_64": 56, "aarch64": 220}
_CLONE3 = 435
_AUDIT_ARCH = {"x86_64": 0xC000003E, "aarch64": 0xC00000B7}
_X32_SYSCALL_BIT = 0x40000000

# seccomp return values and classic BPF operations
_KILL, _ERRNO, _ALLOW = 0x80000000, 0x00050000, 0x7FFF0000
_LOAD, _EQUAL, _AT_LEAST, _ANY_BITS, _AND, _RETURN = 0x20, 0x15, 0x35, 0x45, 0x54, 0x06
_OFFSET_NUMBER, _OFFSET_ARCH, _OFFSET_ARGS = 0, 4, 16


def _do(code: int, value: int) -> bytes:
    return struct.pack("=HBBI", code, 0, 0, value & 0xFFFFFFFF)


def _jump(code: int, value: int, if_true: int, if_false: int) -> bytes:
    return struct.pack("=HBBI", code, if_true, if_false, value & 0xFFFFFFFF)


REFUSED_ANSWER = _do(_RETURN, _ERRNO | errno.EPERM)
_ALLOWED_ANSWER = _do(_RETURN, _ALLOW)


def _on(number: int, *then: bytes) -> list[bytes]:
    """Do `then`, which must end in an answer, for one system call."""
    return [_jump(_EQUAL, number, 0, len(then)), *then]


def build_filter(machine: str, *, files: bool = False) -> bytes:
    """Build the seccomp program for a machine of `os.uname`: allow a list, answer EPERM to everything else."""
    numbers = dict(ALLOWED[machine])
    program = [
        _do(_LOAD, _OFFSET_ARCH),
        _jump(_EQUAL, _AUDIT_ARCH[machine], 1, 0),
        _do(_RETURN, _KILL),  # another architecture's numbers mean other calls
        _do(_LOAD, _OFFSET_NUMBER),
    ]
    if machine == "x86_64":  # the x32 numbers are the same calls by another door
        program += [_jump(_AT_LEAST, _X32_SYSCALL_BIT, 0, 1), _do(_RETURN, _KILL)]
    for number in MMAP_LIKE[machine].values():  # never memory that is executable
        program += _on(number, _load_argument(2), *_refuse_bits(_PROT_EXEC), _ALLOWED_ANSWER)
    for name in ("sendto", "recvfrom"):  # no out-of-band data: CVE-2025-38236 led out of a sandbox
        other_bits = ~(_MSG_DONTWAIT | _MSG_WAITALL | _MSG_NOSIGNAL)
        program += _on(
            numbers.pop(name), _load_argument(3), *_refuse_bits(other_bits), _ALLOWED_ANSWER
        )
    program += _on(  # no locks with priorities: CVE-2014-3153, CVE-2021-3347
        numbers.pop("futex"),
        _load_argument(1),
        _do(_AND, _FUTEX_OPERATION),
        _jump(_AT_LEAST, _FIRST_FUTEX_OF_PRIORITIES, 0, 3),
        _jump(_EQUAL, _FUTEX_BITSETS[0], 2, 0),
        _jump(_EQUAL, _FUTEX_BITSETS[1], 1, 0),
        REFUSED_ANSWER,
        _ALLOWED_ANSWER,
    )
    program += _on(  # threads as libc starts them, never processes, nothing of their own
        _CLONE[machine],
        _load_argument(0),
        *_refuse_bits(~_CLONE_THREAD_FLAGS),
        _jump(_ANY_BITS, _CLONE_THREAD, 1, 0),
        REFUSED_ANSWER,
        _ALLOWED_ANSWER,
    )
    # its flags lie in memory, where a filter cannot look: libc falls back to clone
    program += _on(_CLONE3, _do(_RETURN, _ERRNO | errno.ENOSYS))
    for number in numbers.values():
        program += _on(number, _ALLOWED_ANSWER)
    if files:
        program += _build_file_rules(machine)
    return b"".join([*program, REFUSED_ANSWER])


def _build_file_rules(machine: str) -> list[bytes]:
    rules: list[bytes] = []
    for number in FILE_CALLS[machine].values():
        rules += _on(number, _ALLOWED_ANSWER)
    for number, commands in (
        (_FCNTL[machine], _FCNTL_COMMANDS),
        (_IOCTL[machine], (_CLOSE_ON_EXEC,)),
    ):
        checks = [(_jump(_EQUAL, command, 0, 1), _ALLOWED_ANSWER) for command in commands]
        rules += _on(number, _load_argument(1), *itertools.chain(*checks), REFUSED_ANSWER)
    for number in _LIST_XATTR[machine]:  # `shutil` copies them, and goes on where there are none
        rules += _on(number, _do(_RETURN, _ERRNO | errno.EOPNOTSUPP))
    return rules


def _load_argument(index: int) -> bytes:
    """Load the lower half of an argument; every argument looked at is 32 bits wide."""
    return _do(_LOAD, _OFFSET_ARGS + 8 * index)


def _refuse_bits(bits: int) -> list[bytes]:
    return [_jump(_ANY_BITS, bits, 0, 1), REFUSED_ANSWER]


class _Program(ctypes.Structure):
    _fields_ = (("length", ctypes.c_ushort), ("filter", ctypes.c_void_p))


class SystemCallFilter:
    """A filter of `build_filter`, laid out in the parent of workers so that a worker has little left to do."""

    def __init__(self, program: bytes) -> None:
        self._buffer = ctypes.create_string_buffer(program, len(program))
        self._program = _Program(len(program) // 8, ctypes.addressof(self._buffer))
        self._address = ctypes.addressof(self._program)

    def install(self) -> None:
        """Install it on this thread and all that it starts; it cannot be taken off again."""
        no_new_privs()
        _prctl("seccomp", _PR_SET_SECCOMP, _SECCOMP_MODE_FILTER, self._address)


def install_layer(name: str, install: Callable[[], None], report: dict[str, str]) -> bool:
    """Try to install one layer and write into `report` what came of it."""
    if not LINUX:
        report[name] = f"not there on {sys.platform}"
        return False
    try:
        install()
    except (OSError, KeyError, AttributeError) as error:
        report[name] = f"refused by the kernel: {error}"
        return False
    report[name] = "on"
    return True
