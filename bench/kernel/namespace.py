"""Network namespaces without a name and TUN devices in them.

Knows: the system calls and the ioctl requests (Linux: if_tun.h, sockios.h, net_namespaces(7)). Refuses to know: what
crosses the devices. A namespace lives as long as a process in it or a descriptor of it, so nothing is left behind
whatever ends the processes; there is no name to clean up.
"""

from __future__ import annotations

import ctypes
import fcntl
import os
import signal
import socket
import struct
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Final, TypeVar

__all__ = ["MTU", "VNET_HEADER", "Namespace", "available", "die_with_parent", "open_tun", "run_first"]

T = TypeVar("T")

CLONE_NEWNET: Final = 0x40000000  # sched.h
PR_SET_PDEATHSIG: Final = 1  # prctl.h
PR_SET_TIMERSLACK: Final = 29
TUNSETIFF: Final = 0x400454CA  # if_tun.h
TUNSETOFFLOAD: Final = 0x400454D0
IFF_TUN: Final = 0x0001
IFF_NO_PI: Final = 0x1000
IFF_VNET_HDR: Final = 0x4000
TUN_F_CSUM: Final = 0x01
SIOCSIFFLAGS: Final = 0x8914  # sockios.h
SIOCSIFADDR: Final = 0x8916
SIOCSIFNETMASK: Final = 0x891C
SIOCSIFMTU: Final = 0x8922
SIOCSIFTXQLEN: Final = 0x8943
IFF_UP: Final = 0x1

# Bytes of struct virtio_net_hdr before each packet. It says where a checksum is still to be filled in; handed to the
# other device as it is, nobody need ever compute one, as between two cards with checksum offload.
VNET_HEADER: Final = 10
# Bytes of the largest IP packet: Ethernet's.
MTU: Final = 1500
# Packets that the device holds for us; never the bottleneck, which is the emulator's own queue.
DEVICE_QUEUE: Final = 10_000

# What the namespace's TCP may need, written where it differs from what a fresh namespace has. No ssthresh remembered
# from earlier connections; buffers (least, initial, most, bytes) far above any BDP here; no IPv6 chatter on the link.
SETTINGS: Final = {
    "net/ipv6/conf/all/disable_ipv6": "1",
    "net/ipv6/conf/default/disable_ipv6": "1",
    "net/ipv4/tcp_no_metrics_save": "1",
    "net/ipv4/tcp_rmem": "4096 131072 33554432",
    "net/ipv4/tcp_wmem": "4096 65536 33554432",
}


def _libc(name: str, *arguments: int) -> None:
    """Call a function of libc. Raises OSError."""
    function = getattr(ctypes.CDLL(None, use_errno=True), name)
    if function(*arguments) != 0:
        number = ctypes.get_errno()
        raise OSError(number, f"{name}: {os.strerror(number)}")


class Namespace:
    """A network namespace, held by a descriptor of this process. Usable as `with`."""

    def __init__(self) -> None:
        # Only the thread that calls unshare moves into the new namespace.
        self._fd = _in_thread(_new_namespace)

    @property
    def path(self) -> str:
        """Where other processes of this machine find it as long as it is held here."""
        return f"/proc/{os.getpid()}/fd/{self._fd}"

    @staticmethod
    def enter(path: str) -> None:
        """Move the calling thread into a namespace; sockets and devices opened from now on belong there."""
        fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
        try:
            _libc("setns", fd, CLONE_NEWNET)
        finally:
            os.close(fd)

    def close(self) -> None:
        """Let go of it."""
        if self._fd >= 0:
            os.close(self._fd)
            self._fd = -1

    def __enter__(self) -> Namespace:
        return self

    def __exit__(self, *error: object) -> None:
        self.close()


def _in_thread(function: Callable[[], T]) -> T:
    with ThreadPoolExecutor(1) as executor:
        return executor.submit(function).result()


def _new_namespace() -> int:
    _libc("unshare", CLONE_NEWNET)
    for name, value in SETTINGS.items():
        path = Path("/proc/sys", name)
        if path.exists():
            path.write_text(value)
    return os.open("/proc/thread-self/ns/net", os.O_RDONLY | os.O_CLOEXEC)


def open_tun(name: str, address: str) -> int:
    """A TUN device with an address in a /24, in the namespace of the calling thread; its non-blocking descriptor.

    Raises OSError.
    """
    fd = os.open("/dev/net/tun", os.O_RDWR | os.O_NONBLOCK | os.O_CLOEXEC)
    try:
        device = name.encode()
        fcntl.ioctl(fd, TUNSETIFF, struct.pack("16sH22x", device, IFF_TUN | IFF_NO_PI | IFF_VNET_HDR))
        fcntl.ioctl(fd, TUNSETOFFLOAD, TUN_F_CSUM)
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
            for request, number in ((SIOCSIFMTU, MTU), (SIOCSIFTXQLEN, DEVICE_QUEUE)):
                fcntl.ioctl(sock, request, struct.pack("16si20x", device, number))
            for request, text in ((SIOCSIFADDR, address), (SIOCSIFNETMASK, "255.255.255.0")):
                inet = struct.pack("HH4s8x", socket.AF_INET, 0, socket.inet_aton(text))
                fcntl.ioctl(sock, request, struct.pack("16s16s8x", device, inet))
            fcntl.ioctl(sock, SIOCSIFFLAGS, struct.pack("16sH22x", device, IFF_UP))
    except BaseException:
        os.close(fd)
        raise
    return fd


def available() -> str | None:
    """Why namespaces with TUN devices can't be had here; None: they can."""
    if not os.path.exists("/dev/net/tun"):
        return "it needs /dev/net/tun, which is not there (modprobe tun; in a container: --device /dev/net/tun)"

    def trial() -> None:
        os.close(_new_namespace())
        os.close(open_tun("rudp-trial", "192.0.2.1"))

    try:
        _in_thread(trial)
    except OSError as error:
        who = "" if os.geteuid() == 0 else "; run it as root"
        return f"it needs CAP_NET_ADMIN to make network namespaces and TUN devices ({error}){who}"
    return None


def die_with_parent() -> None:
    """Have the kernel end this process when the one that started it ends, in whatever way."""
    parent = os.getppid()
    _libc("prctl", PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
    if os.getppid() != parent:
        os._exit(1)


def run_first(priority: int) -> str:
    """Let this process run before others, at a real-time `priority` (1..99) if allowed; what was got."""
    _libc("prctl", PR_SET_TIMERSLACK, 1, 0, 0, 0)  # nanoseconds by which a sleep may be too long
    try:
        os.sched_setscheduler(0, os.SCHED_FIFO, os.sched_param(priority))
    except OSError:
        try:
            os.nice(-15)
        except OSError:
            return "no priority"
        return "nice -15"
    return f"SCHED_FIFO {priority}"
