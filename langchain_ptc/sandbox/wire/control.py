"""What the host and the parent of workers say to each other, beside the channel of each worker."""

from __future__ import annotations

import os
import signal
import struct

REQUEST = struct.Struct("<cI")
"""To the parent: kind, number of the worker."""
REPLY = struct.Struct("<cIidI")
"""From it: kind, number of the worker, process id or status, CPU seconds used, bytes that follow."""
FORK, SPARE, KILL, LIMIT = b"F", b"S", b"K", b"L"
HELLO, BORN, ENDED, REFUSED = b"H", b"P", b"X", b"R"
DESCRIPTORS_OF_A_WORKER = 2 if hasattr(os, "pidfd_open") else 1
"""What comes with `BORN`: the worker's channel, and its pidfd where the kernel has one."""

ALLOWANCE = struct.Struct("<IQ")
"""To a worker, before its program: CPU seconds, bytes of memory."""
MAX_CPU_SECONDS = 2**31 - 2
MAX_MEMORY_BYTES = 2**62
"""More than any machine has; and limits that the kernel still takes with what is added to them."""

LIMIT_SIGNAL = signal.SIGUSR1 if hasattr(signal, "SIGUSR1") else signal.SIGTERM
"""From the host to a worker: the wall limit has come; say where the code is, and end."""
EXIT_NO_SECCOMP = 71
"""The exit status of a worker that the kernel refused its filter of system calls."""
EXIT_NO_FOLDER = 72
"""The exit status of a worker that the kernel refused its folder."""
