"""Attacks by the folder of code with files: out of it, beyond its bounds, and by what it hands back. x86-64."""

from __future__ import annotations

from tests.escapes.attacks import LIBC, SAYS, table

_TRY = """
def attempt(what, result):
    print(what, 'DONE' if result >= 0 else 'refused', ctypes.get_errno())
buf = ctypes.create_string_buffer(4096)
"""

OUT = [
    *table(
        "stdout: PTC-CANARY|root:x|DONE|LEFT|VmPeak",
        {
            "upwards from the folder": """
                import os
                for _ in range(40): os.chdir('..')
                print(sorted(os.listdir('.')), open('etc/passwd').read())
            """,
            "upwards by the path": "print(open('../../../../../../../..{CANARY}/secret.txt').read())",
            "what is mounted": """
                import os
                for place, folders, files in os.walk('/'):
                    if place.count('/') > 6 or set(folders) - {'files', 'tmp', 'x'}: print('LEFT', place)
                for name in ('/proc', '/dev', '/sys', '/etc', '/usr', '/home', '/new'):
                    if os.path.exists(name): print('LEFT', name)
            """,
            "relative to a descriptor": """
                import os
                for number in range(3):
                    try: print(os.open('../../../..{CANARY}/secret.txt', 0, dir_fd=number), 'DONE')
                    except OSError: pass
            """,
            "the descriptor of another file system": """
                import os
                own = os.stat('.').st_dev
                for number in range(256):
                    try: status = os.fstat(number)
                    except OSError: continue
                    if number != 3 and status.st_dev != own: print('LEFT', number)
            """,
            "a file that is a program": """
                import os
                with open('run', 'w') as file: file.write('#!/bin/sh\\necho x > {CANARY}/out/ran\\n')
                os.chmod('run', 0o7777)
                os.execv('run', ['run'])
            """,
            "a library of its own": """
                import ctypes
                open('own.so', 'wb').write(b'\\x7fELF' + bytes(60))
                ctypes.CDLL('/files/own.so')
                print('DONE')
            """,
            "memory of a file that can be executed": """
                import ctypes, os
                c = ctypes.CDLL(None, use_errno=True)
                c.mmap.restype = ctypes.c_ssize_t
                with open('code', 'wb') as file: file.write(bytes(4096))
                number = os.open('code', os.O_RDWR)
                for protection in (4, 5, 7):
                    if c.mmap(None, 4096, protection, 1, number, 0) != -1: print('DONE')
            """,
            "a module in its folder": """
                open('mine.py', 'w').write("print('DO' + 'NE')")
                import mine
            """,
            "the file of another execution": """
                import os
                if os.path.exists('/files/held'): print('LEFT')
                open('/files/held', 'w').write('x')
            """,
        },
    ),
    *table(
        "stdout: DONE",
        {
            "links and special files": """
                open('a', 'w').close()
                attempt('link', c.link(b'a', b'b'))
                attempt('symlink', c.symlink(b'/etc/passwd', b'c'))
                attempt('fifo', c.mkfifo(b'd', 0o600))
                attempt('device', c.syscall(133, b'e', 0o020666, 0x103))
                attempt('device at', c.syscall(259, -100, b'e', 0o060666, 0x800))
                attempt('socket', c.syscall(133, b'f', 0o140666, 0))
            """,
            "its mounts again": """
                attempt('remount', c.mount(None, b'/', None, 32, b'size=1g,nr_inodes=0'))
                attempt('mount', c.mount(b'proc', b'/tmp', b'proc', 0, None))
                attempt('bind', c.mount(b'/', b'/tmp', None, 4096, None))
                attempt('unmount', c.umount2(b'/', 2))
                attempt('pivot', c.syscall(155, b'/tmp', b'/tmp'))
                attempt('chroot', c.chroot(b'/tmp'))
                attempt('unshare', c.unshare(0x20000))
                attempt('user namespace', c.unshare(0x10000000))
                attempt('mount_setattr', c.syscall(442, -100, b'/', 0, buf, 32))
                attempt('move_mount', c.syscall(429, -100, b'/', -100, b'/tmp', 0))
                attempt('fsmount', c.syscall(432, 3, 0, 0))
            """,
            "handles and watches": """
                attempt('name', c.syscall(303, -100, b'/files', buf, buf, 0))
                attempt('open', c.syscall(304, -100, buf, 0))
                attempt('inotify', c.inotify_init1(0))
                attempt('fanotify', c.fanotify_init(0, 0))
                attempt('openat2', c.syscall(437, -100, b'/files', buf, 24))
                attempt('fchdir', c.fchdir(0))
                attempt('readlink', c.readlink(b'/proc/self/exe', buf, 99))
            """,
            "owners and attributes": """
                open('a', 'w').close()
                attempt('chown', c.chown(b'a', 0, 0))
                attempt('lchown', c.lchown(b'a', 0, 0))
                attempt('setxattr', c.setxattr(b'a', b'user.x', b'y', 1, 0))
                attempt('getxattr', c.getxattr(b'a', b'user.x', buf, 9))
                attempt('lease', c.fcntl(3, 1024, 1))
                attempt('signal', c.fcntl(3, 10, 9))
                attempt('owner', c.fcntl(3, 8, 1))
                attempt('notify', c.fcntl(3, 1026, 1))
                attempt('pipe size', c.fcntl(3, 1031, 1 << 20))
                attempt('seal', c.fcntl(3, 1033, 1))
                attempt('terminal', c.ioctl(3, 0x5412, buf))
                attempt('flags', c.fcntl(3, 4, 0x2000))
            """,
            "data inside the kernel": """
                import os
                open('a', 'wb').write(b'x' * 99)
                number = os.open('a', os.O_RDWR)
                attempt('sendfile', c.sendfile(3, number, None, 9))
                attempt('copy', c.syscall(326, number, None, number, None, 9, 0))
                attempt('splice', c.syscall(275, number, None, 3, None, 9, 0))
                attempt('tee', c.syscall(276, number, 3, 9, 0))
                attempt('fallocate', c.syscall(285, number, 0, 0, 99))
                attempt('readahead', c.syscall(187, number, 0, 99))
                attempt('aio', c.syscall(206, 9, buf))
            """,
        },
        LIBC + _TRY,
    ),
]

BEYOND = table(
    "mem|flood",
    {
        "a file that fills its folder": """
            with open('a', 'wb') as file:
                while True: file.write(bytes(2**16))
        """,
        "files that fill it": """
            n = 0
            while True:
                with open(f'{n}', 'wb') as file: file.write(bytes(2**12))
                n += 1
        """,
        "files without end": """
            n = 0
            while True:
                open(f'{n}' + 'x' * 200, 'w').close()
                n += 1
        """,
        "folders in folders": """
            import os
            while True:
                os.mkdir('d' * 200)
                os.chdir('d' * 200)
        """,
        "a huge sparse file": """
            with open('a', 'wb') as file: file.truncate(2**20)
            with open('b', 'wb') as file: file.truncate(2**62)
        """,
        "memory of its folder": """
            import mmap
            file = open('a', 'w+b')
            file.truncate(2**20)
            held = [mmap.mmap(file.fileno(), 2**20) for _ in range(200)]
            while True:
                for one in held: one[:] = bytes(2**20)
        """,
        "files that come and go": """
            import os
            while True:
                with open('a', 'wb') as file: file.write(bytes(2**19))
                os.remove('a')
        """,
    },
)

FORGED = table(
    "crash|stdout: \\.\\./evil",
    {
        "files: a path out": 'frame(b\'[["f","../evil",0,null]]\')\nend()',
        "files: a size that is none": 'frame(b\'[["f","a",99999999999999999999,null]]\')\nend()',
        "files: many": """
            for n in range(100000): frame(b'[["f","%d",0,null]]' % n)
            end()
        """,
    },
    SAYS,
)

FOLDER = [*OUT, *BEYOND, *FORGED]
