"""Several sockets on one port: numbers that hold, a program that picks, a port in use that is found out."""

from __future__ import annotations

import errno
import socket
from collections.abc import Iterator
from struct import pack

import pytest

from rudp import udp_group
from rudp.errors import SocketError
from rudp.steering import owner, program
from rudp.udp_group import attach_program, open_group
from rudp.udp_options import open_socket
from rudp.wire import DATA, PacketType

COUNT = 4
HAS_REUSEPORT = hasattr(socket, "SO_REUSEPORT")
needs_reuseport = pytest.mark.skipif(not HAS_REUSEPORT, reason="this system has no SO_REUSEPORT")


@pytest.fixture(params=["127.0.0.1", "::1", ""])
def group(request: pytest.FixtureRequest) -> Iterator[list[socket.socket]]:
    try:
        first = open_socket((request.param, 0), 0, reuse_port=False)
    except SocketError as error:
        pytest.skip(f"no socket at {request.param}: {error}")
    sockets = open_group(first, COUNT)
    for sock in sockets:
        sock.settimeout(5)
    yield sockets
    for sock in sockets:
        sock.close()


def port(group: list[socket.socket]) -> int:
    return int(group[0].getsockname()[1])


def send(group: list[socket.socket], payload: bytes) -> int:
    """Send to the group from a new address, and say which socket got it."""
    host = group[0].getsockname()[0]
    target = {"::": "::1"}.get(host, host)
    with socket.socket(socket.AF_INET6 if ":" in target else socket.AF_INET, socket.SOCK_DGRAM) as sender:
        sender.sendto(payload, (target, port(group)))
    for _ in range(2000):
        for index, sock in enumerate(group):
            sock.setblocking(False)
            try:
                assert sock.recv(2000) == payload
            except BlockingIOError:
                continue
            return index
    raise AssertionError("no socket of the group got it")


@needs_reuseport
def test_the_sockets_share_one_address(group: list[socket.socket]) -> None:
    assert len({sock.getsockname() for sock in group}) == 1
    assert len(group) == COUNT


@needs_reuseport
def test_the_kernel_picks_by_the_id_wherever_it_comes_from(group: list[socket.socket]) -> None:
    if not attach_program(group[0], program(COUNT)):
        pytest.skip("this kernel takes no program for a group of sockets")
    for index in range(COUNT):
        data = pack(">BQ", DATA, index << 56 | 12345) + bytes(20)
        assert [send(group, data) for _ in range(5)] == [index] * 5
    for drawn in (3, 2**63 + 6, 2**32 - 1):
        syn = pack(">BQ", PacketType.SYN, drawn) + bytes(1191)
        assert [send(group, syn) for _ in range(3)] == [owner(PacketType.SYN, drawn, COUNT)] * 3
    beyond = pack(">BQ", DATA, 200 << 56) + bytes(20)
    assert send(group, beyond) in range(COUNT)
    assert send(group, b"\x60") in range(COUNT)


@needs_reuseport
@pytest.mark.parametrize("shared", [False, True])
def test_a_port_in_use_is_found_out(group: list[socket.socket], shared: bool) -> None:
    """Even by a group: two servers started by accident must not take each other's datagrams."""
    where = (group[0].getsockname()[0], port(group))
    if not shared:
        for sock in group[1:]:
            sock.close()
    with pytest.raises(SocketError) as caught:
        open_socket(where, 0, reuse_port=False)
    assert caught.value.errno == errno.EADDRINUSE


def test_without_the_option_the_error_says_what_to_do(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delattr(socket, "SO_REUSEPORT", raising=False)
    with open_socket(("127.0.0.1", 0), 0, reuse_port=False) as first:
        with pytest.raises(SocketError, match="serve without workers") as caught:
            open_group(first, 2)
        assert caught.value.errno == errno.EOPNOTSUPP
        assert first.fileno() >= 0


def test_a_kernel_that_takes_no_program_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    with open_socket(("127.0.0.1", 0), 0, reuse_port=False) as alone:
        assert not attach_program(alone, [])
        monkeypatch.setattr(udp_group, "SO_ATTACH_REUSEPORT_CBPF", None)
        assert not attach_program(alone, program(2))
