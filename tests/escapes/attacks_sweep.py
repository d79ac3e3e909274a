"""Every system call there is, asked for from a walled worker. x86-64."""

from __future__ import annotations

from collections.abc import Iterable

from tests.escapes.attacks import LIBC, Attack

ANSWERING = {
    "read": 0, "write": 1, "close": 3, "poll": 7, "mmap": 9, "mprotect": 10, "munmap": 11,
    "brk": 12, "rt_sigaction": 13, "rt_sigprocmask": 14, "rt_sigreturn": 15, "sched_yield": 24,
    "mremap": 25, "madvise": 28, "nanosleep": 35, "getpid": 39, "sendto": 44, "recvfrom": 45,
    "exit": 60, "sigaltstack": 131, "gettid": 186, "futex": 202, "restart_syscall": 219,
    "clock_gettime": 228, "clock_getres": 229, "clock_nanosleep": 230, "exit_group": 231,
    "ppoll": 271, "set_robust_list": 273, "getrandom": 318, "rseq": 334,
}  # fmt: skip
"""The whole list of what a worker may ask of the kernel; `clone` only for threads."""
ENDING = (15, 60, 231)
"""These end whoever calls them so, and `ppoll` waits for ever."""
PROBES = (335, 336)
"""`uretprobe` and `uprobe`: the kernel answers a caller that is no probe with SIGILL."""
LAST = 600
WITH_FILES = {
    "stat": 4, "fstat": 5, "lstat": 6, "lseek": 8, "pread64": 17, "pwrite64": 18, "access": 21, "msync": 26,
    "fsync": 74, "fdatasync": 75, "truncate": 76, "ftruncate": 77, "getcwd": 79, "chdir": 80,
    "rename": 82, "mkdir": 83, "rmdir": 84, "unlink": 87, "chmod": 90, "fchmod": 91, "statfs": 137,
    "fstatfs": 138, "getdents64": 217, "openat": 257, "mkdirat": 258, "newfstatat": 262,
    "unlinkat": 263, "renameat": 264, "fchmodat": 268, "faccessat": 269, "utimensat": 280,
    "faccessat2": 439,
}  # fmt: skip
"""What a worker with a folder may ask for as well; `fcntl` and `ioctl` only for a few commands."""
_NO_SUCH = (194, 195)
"""The lists of extended attributes: there are none."""

_SWEEP = """
skipped = {skipped}
answered = []
for number in range({first}, {last}):
    if number in skipped: continue
    ctypes.set_errno(0)
    result = c.syscall(number, 0, 0, 0, 0, 0, 0)
    if result != -1 or ctypes.get_errno() not in (1, 38): answered.append(number)
unknown = [number for number in answered if number not in {allowed}]
print('SWEPT', 'ANSWERED' if unknown else 'nothing', unknown)
"""


def _sweep(first: int, last: int, allowed: Iterable[int] = ANSWERING.values()) -> str:
    skipped = {*ENDING, *PROBES, ANSWERING["ppoll"]}
    code = _SWEEP.format(skipped=skipped, first=first, last=last, allowed=set(allowed))
    return LIBC + code


SWEEPS = [
    Attack(f"all calls from {first}", "stdout: ANSWERED", _sweep(first, min(first + 100, LAST + 1)))
    for first in range(0, LAST + 1, 100)
]
SWEEP_WITH_FILES = Attack(
    "all calls with files",
    "stdout: ANSWERED",
    _sweep(0, LAST + 1, [*ANSWERING.values(), *WITH_FILES.values(), *_NO_SUCH]),
)
SWEEPS += [
    Attack(
        "all calls in a thread",
        "stdout: ANSWERED",
        f"""
import threading
def sweep():
{chr(10).join("    " + line for line in _sweep(0, LAST + 1).splitlines())}
thread = threading.Thread(target=sweep)
thread.start()
thread.join()
""",
    ),
]
DEADLY = [
    Attack(
        f"{what} {number:#x}",
        "stdout: LIVES",
        LIBC + f"c.syscall(ctypes.c_long({number}), 0, 0, 0, 0, 0, 0)\nprint('LIVES')",
    )
    for what, numbers in {
        "the x32 call": [0x40000000 + number for number in (0, 1, 2, 41, 56, 59, 520)],
        "the call": [0xFFFFFFFF, 0x7FFFFFFF],
    }.items()
    for number in numbers
]
