"""What a worker process gives up before it has any work: files, network, and power over other processes.

It gives them up for itself and for everything that it will ever start, and nobody can give them back.
Landlock decides about files, memory of others and signals; a filter of system calls (seccomp) about the
network, name spaces, and what Landlock does not know. Neither needs privileges. What the kernel cannot do is
told, never passed over.

A plan is plain JSON: ``readable`` and ``writable`` (lists of paths), ``network``, ``provider`` (its pid).
Standard library only: ``worker.py`` loads this as a script before all else, and the daemon imports it to know
what this kernel can do.
"""

# Without pathlib and contextlib, a worker starts in half the time.
# ruff: noqa: PTH101, PTH104, PTH106, PTH108, PTH112

from __future__ import annotations

import ctypes
import errno
import os
import resource
import struct
import sys

TYPE_CHECKING = False
if TYPE_CHECKING:  # the module typing takes a third of the worker's start
    from collections.abc import Sequence
    from typing import Any

PR_SET_DUMPABLE, PR_GET_SECCOMP, PR_SET_SECCOMP, PR_SET_NO_NEW_PRIVS = 4, 21, 22, 38
SECCOMP_MODE_FILTER = 2
_CAPABILITIES_VERSION = 0x20080522
CREATE_RULESET, ADD_RULE, RESTRICT_SELF = 444, 445, 446
"""Landlock's system calls: the same on every machine but alpha."""

# Rights of Landlock, and the version from which the kernel knows them.
EXECUTE, WRITE_FILE, READ_FILE, READ_DIR = 1 << 0, 1 << 1, 1 << 2, 1 << 3
REFER, TRUNCATE, IOCTL_DEV = 1 << 13, 1 << 14, 1 << 15
ALL_SINCE = {1: (1 << 13) - 1, 2: REFER, 3: TRUNCATE, 5: IOCTL_DEV}
OF_FILES = EXECUTE | WRITE_FILE | READ_FILE | TRUNCATE | IOCTL_DEV
"""The rest is of directories alone."""
READING = EXECUTE | READ_FILE | READ_DIR
TCP, ABSTRACT_SOCKETS, SIGNALS = 0b11, 0b01, 0b10
TCP_SINCE, SCOPES_SINCE = 4, 6

DEVICES = ("/dev/null", "/dev/zero", "/dev/full", "/dev/random", "/dev/urandom")

FILES, NETWORK, PROCESSES = "files", "network", "signals"
"""What a plan is about, in the words of messages."""

_libc = ctypes.CDLL(None, use_errno=True)
_libc.prctl.argtypes = [ctypes.c_int] + [ctypes.c_ulong] * 4

# --- system calls ---------------------------------------------------------------------------------

_X86_64 = (
    "socket 41 clone 56 kill 62 ptrace 101 shmget 29 semget 64 msgget 68 prlimit64 302 setpriority 141 "
    "sched_setparam 142 sched_setscheduler 144 sched_setaffinity 203 ioprio_set 251 mq_open 240 tkill "
    "200 tgkill 234 rt_sigqueueinfo 129 rt_tgsigqueueinfo 297 truncate 76 sched_setattr 314 pivot_root "
    "155 mount 165 umount2 166 chroot 161 swapon 167 swapoff 168 reboot 169 init_module 175 "
    "delete_module 176 finit_module 313 quotactl 179 acct 163 settimeofday 164 clock_settime 227 "
    "adjtimex 159 clock_adjtime 305 sethostname 170 setdomainname 171 iopl 172 ioperm 173 add_key 248 "
    "request_key 249 keyctl 250 migrate_pages 256 move_pages 279 unshare 272 perf_event_open 298 "
    "open_by_handle_at 304 setns 308 process_vm_readv 310 process_vm_writev 311 kcmp 312 kexec_load 246 "
    "kexec_file_load 320 bpf 321 userfaultfd 323 syslog 103 vhangup 153 personality 135 mknod 133 "
    "mknodat 259 fanotify_init 300"
)
_GENERIC = (
    "socket 198 clone 220 kill 129 ptrace 117 shmget 194 semget 190 msgget 186 prlimit64 261 "
    "setpriority 140 sched_setparam 118 sched_setscheduler 119 sched_setaffinity 122 ioprio_set 30 "
    "mq_open 180 tkill 130 tgkill 131 rt_sigqueueinfo 138 rt_tgsigqueueinfo 240 truncate 45 "
    "sched_setattr 274 pivot_root 41 mount 40 umount2 39 chroot 51 swapon 224 swapoff 225 reboot 142 "
    "init_module 105 delete_module 106 finit_module 273 quotactl 60 acct 89 settimeofday 170 "
    "clock_settime 112 adjtimex 171 clock_adjtime 266 sethostname 161 setdomainname 162 add_key 217 "
    "request_key 218 keyctl 219 migrate_pages 238 move_pages 239 unshare 97 perf_event_open 241 "
    "open_by_handle_at 265 setns 268 process_vm_readv 270 process_vm_writev 271 kcmp 272 kexec_load 104 "
    "kexec_file_load 294 bpf 280 userfaultfd 282 syslog 116 vhangup 58 personality 92 mknodat 33 "
    "fanotify_init 262"
)
_EVERYWHERE = (
    "pidfd_send_signal 424 io_uring_setup 425 io_uring_enter 426 io_uring_register 427 open_tree 428 "
    "move_mount 429 fsopen 430 fsconfig 431 fsmount 432 fspick 433 clone3 435 pidfd_getfd 438 "
    "process_madvise 440 mount_setattr 442 quotactl_fd 443 process_mrelease 448"
)
_MACHINES = {
    "x86_64": (0xC000003E, _X86_64),
    "aarch64": (0xC00000B7, _GENERIC),
    "riscv64": (0xC00000F3, _GENERIC),
}
"""AUDIT_ARCH of the kernel, and numbers of system calls."""
_X32 = 0x40000000

_ABOUT_OTHERS = "prlimit64 sched_setparam sched_setscheduler sched_setaffinity sched_setattr"
"""Of these the first argument is a process: only 0, oneself, is possible."""
_ABOUT_SOMEBODY = "setpriority ioprio_set"
"""Of these it is the second one."""
_SIGNALS = "kill tkill tgkill rt_sigqueueinfo rt_tgsigqueueinfo"
_ARGUMENTS_DECIDE = f"socket clone clone3 mknod mknodat {_ABOUT_OTHERS} {_ABOUT_SOMEBODY} {_SIGNALS}".split()
_WITHOUT_LANDLOCK = ("truncate", "pidfd_send_signal")
"""Only needed where Landlock is too old to know about them."""
_FAMILIES = (1, 2, 10, 16)
"""With a network: unix, IPv4, IPv6, netlink."""
_NEW_NAMESPACES = 0x7E020000
_FORMAT, _REGULAR, _FIFO, _SOCKET = 0o170000, 0o100000, 0o010000, 0o140000

_LOAD, _EQUAL, _AT_LEAST, _ANY_BIT, _AND, _RETURN = 0x20, 0x15, 0x35, 0x45, 0x54, 0x06
_ALLOW, _REFUSE = 0x7FFF0000, 0x00050000
_NUMBER, _ARCHITECTURE, _ARGUMENTS = 0, 4, 16


def _program(machine: str, *, network: bool, provider: int, landlock: int) -> list[tuple[int, int, int, int]]:
    """The filter, as instructions of classic BPF."""
    arch, words = _MACHINES[machine]
    each = f"{words} {_EVERYWHERE}".split()
    numbers = dict(zip(each[::2], map(int, each[1::2]), strict=True))
    refuse = (_RETURN, 0, 0, _REFUSE | errno.EPERM)
    allow = (_RETURN, 0, 0, _ALLOW)
    program = [(_LOAD, 0, 0, _ARCHITECTURE), (_EQUAL, 1, 0, arch), refuse, (_LOAD, 0, 0, _NUMBER)]
    if machine == "x86_64":
        program += [(_AT_LEAST, 0, 1, _X32), refuse]

    def only_if(name: str, block: list[tuple[int, int, int, int]]) -> None:
        if name in numbers:
            program.extend([(_EQUAL, 0, len(block), numbers[name]), *block])

    def argument(index: int) -> tuple[int, int, int, int]:
        return (_LOAD, 0, 0, _ARGUMENTS + 8 * index)  # its lower half: all these machines are little-endian

    for name in numbers:
        if name not in _ARGUMENTS_DECIDE and not (name in _WITHOUT_LANDLOCK and landlock >= SCOPES_SINCE):
            only_if(name, [refuse])
    no_socket = (_RETURN, 0, 0, _REFUSE | errno.EACCES)
    families = [(_EQUAL, 0, 1, family) for family in _FAMILIES] if network else []
    only_if("socket", [argument(0), *(part for one in families for part in (one, allow)), no_socket])
    only_if("clone", [argument(0), (_ANY_BIT, 0, 1, _NEW_NAMESPACES), refuse, allow])
    # The flags of clone3 are out of a filter's reach: without it, libraries take clone.
    only_if("clone3", [(_RETURN, 0, 0, _REFUSE | errno.ENOSYS)])
    for names, index in ((_ABOUT_OTHERS, 0), (_ABOUT_SOMEBODY, 1)):
        for name in names.split():
            only_if(name, [argument(index), (_EQUAL, 0, 1, 0), allow, refuse])
    harmless = [(0, allow), (_REGULAR, allow), (_FIFO, allow), (_SOCKET, allow)]
    for name, index in (("mknod", 1), ("mknodat", 2)):
        kinds = [part for kind, then in harmless for part in ((_EQUAL, 0, 1, kind), then)]
        only_if(name, [argument(index), (_AND, 0, 0, _FORMAT), *kinds, refuse])
    if landlock < SCOPES_SINCE:
        for name in _SIGNALS.split():
            untouched = [(_EQUAL, 0, 1, pid & 0xFFFFFFFF) for pid in (provider, -provider, -1)]
            only_if(name, [argument(0), *(part for one in untouched for part in (one, refuse)), allow])
    return [*program, allow]


def filter_system_calls(*, network: bool, provider: int, landlock: int) -> None:
    """Raises OSError: the kernel has no filters, or this machine's system calls are not known here."""
    machine = os.uname().machine
    if machine not in _MACHINES or struct.calcsize("P") != 8 or sys.byteorder != "little":
        raise OSError(errno.ENOSYS, f"no filter of system calls for {machine}")
    program = _program(machine, network=network, provider=provider, landlock=landlock)
    code = ctypes.create_string_buffer(b"".join(struct.pack("=HBBI", *one) for one in program))
    header = ctypes.create_string_buffer(struct.pack("@HP", len(program), ctypes.addressof(code)))
    _checked(_libc.prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, ctypes.addressof(header), 0, 0))


# --- Landlock -------------------------------------------------------------------------------------


def landlock_version() -> int:
    """Of the kernel's Landlock; 0 if there is none, or it may not be used."""
    return max(0, int(_libc.syscall(CREATE_RULESET, None, ctypes.c_size_t(0), ctypes.c_uint32(1))))


def restrict_files(version: int, readable: Sequence[str], writable: Sequence[str], *, network: bool) -> None:
    """Nothing but these paths, and what is below them, can be opened from now on; those that there are.

    Raises OSError.
    """
    every = sum(rights for since, rights in ALL_SINCE.items() if version >= since)
    attributes = struct.pack("=Q", every)
    if version >= TCP_SINCE:
        attributes += struct.pack("=Q", 0 if network else TCP)
    if version >= SCOPES_SINCE:
        attributes += struct.pack("=Q", SIGNALS if network else SIGNALS | ABSTRACT_SOCKETS)
    given = ctypes.create_string_buffer(attributes, len(attributes))
    rules = _checked(
        _libc.syscall(CREATE_RULESET, given, ctypes.c_size_t(len(attributes)), ctypes.c_uint32(0))
    )
    try:
        for paths, rights in (
            (readable, READING),
            (DEVICES, READ_FILE | WRITE_FILE | TRUNCATE | IOCTL_DEV),
            (writable, every & ~IOCTL_DEV),
        ):
            for path in paths:
                _allow(rules, path, rights & every)
        _allow(rules, "/", READ_DIR)  # names are no secret; without them, hardly a program finds its way
        _checked(_libc.syscall(RESTRICT_SELF, rules, ctypes.c_uint32(0)))
    finally:
        os.close(rules)


def _allow(rules: int, path: str, rights: int) -> None:
    try:
        place = os.open(path, os.O_PATH | os.O_CLOEXEC)
    except OSError:
        return  # it has gone, or is not for us: then nothing of it is allowed
    try:
        if not os.path.isdir(f"/proc/self/fd/{place}"):
            rights &= OF_FILES
        rule = ctypes.create_string_buffer(struct.pack("=Qi", rights, place), 12)
        _checked(_libc.syscall(ADD_RULE, rules, ctypes.c_int(1), rule, ctypes.c_uint32(0)))
    finally:
        os.close(place)


# --- all of it ------------------------------------------------------------------------------------


def lacking(version: int, *, filters: bool) -> list[str]:
    """What a kernel with this Landlock, with or without filters, cannot keep from work; empty if nothing."""
    found = []
    if version < 1:
        found.append(f"{FILES}: no (the kernel has no Landlock, or it may not be used here)")
    if not filters:
        found.append(f"{NETWORK}: no (there is no filter of system calls)")
    if version < SCOPES_SINCE:
        found.append(f"{PROCESSES}: partly (Linux 6.12 is needed to keep it from other workers)")
    return found


def has_filters() -> bool:
    """Whether this kernel filters system calls, on a machine that is known here."""
    return os.uname().machine in _MACHINES and _libc.prctl(PR_GET_SECCOMP, 0, 0, 0, 0) >= 0


def confine(plan: dict[str, Any]) -> list[str]:
    """Give up all that ``plan`` does not leave this process; what could not be given up, in words."""
    os.umask(0o077)
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    _checked(_libc.prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0))
    hide_memory()
    version, filters, said = landlock_version(), True, []
    if version:
        try:
            restrict_files(version, plan["readable"], plan["writable"], network=plan["network"])
        except OSError as problem:
            version = 0
            said.append(f"Landlock: {problem.strerror}")
    try:
        filter_system_calls(network=plan["network"], provider=plan["provider"], landlock=version)
    except OSError as problem:
        filters = False
        said.append(f"seccomp: {problem.strerror}")
    give_up_privileges()
    return lacking(version, filters=filters) + said


def give_up_privileges() -> None:
    """No capability is left, to this process and to all that it starts, even if its user is root: with
    some of them, the kernel shows environments of others in spite of Landlock. Raises OSError.
    """
    header, held = struct.pack("=Ii", _CAPABILITIES_VERSION, 0), ctypes.create_string_buffer(24)
    if _libc.capget(header, held) == 0 and not any(held.raw):
        return  # a unit's filter may forbid to ask for fewer than none
    _checked(_libc.capset(header, bytes(24)))


def empty(folder: str) -> None:
    """Remove all that is in a directory, however deep it is. What cannot be removed stays.

    Raises OSError: it cannot be read.
    """
    serial, getting_on = 0, True
    while getting_on:
        getting_on = False
        for entry in os.scandir(folder):
            try:
                if entry.is_dir(follow_symlinks=False):
                    serial = _empty_one(entry.path, folder, serial)
                    os.rmdir(entry.path)
                else:
                    os.unlink(entry.path)
                getting_on = True
            except OSError:
                pass  # somebody else's, or it will go when there is less


def _empty_one(path: str, above: str, serial: int) -> int:
    """Remove the files in a directory, and lift the directories in it, so that nothing is ever deep."""
    os.chmod(path, 0o700)
    for entry in list(os.scandir(path)):
        if entry.is_dir(follow_symlinks=False):
            serial += 1
            os.chmod(entry.path, 0o700)
            os.rename(entry.path, f"{above}/.lifted-{serial}")
        else:
            os.unlink(entry.path)
    return serial


def hide_memory() -> None:
    """Nobody of the same user can read this process's memory, environment and descriptors."""
    _libc.prctl(PR_SET_DUMPABLE, 0, 0, 0, 0)


def show_memory() -> None:
    """A process of the work belongs to the work, which may look into its own."""
    _libc.prctl(PR_SET_DUMPABLE, 1, 0, 0, 0)


def _checked(result: int) -> int:
    if result < 0:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number))
    return result
