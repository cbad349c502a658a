"""Real sockets on loopback: trains arrive as sent on every path; no failure loops or loses more than it must.

Both paths run everywhere: "offload" is whatever this machine has, "portable" is one datagram a call.
"""

from __future__ import annotations

import errno
import ipaddress
import os
import select
import socket
from collections.abc import Iterator
from typing import Any, TypeAlias, cast

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rudp import udp_options
from rudp.errors import SocketError
from rudp.train import Address, Train
from rudp.udp import (
    LARGE_MERGED_SIZE,
    MERGED_SIZE,
    RECEIVE_SIZE,
    WORTH_A_LOOK,
    PeerError,
    Received,
    UdpCounters,
    UdpSocket,
    segments_per_call,
)
from rudp.udp_options import address_from_kernel, address_to_kernel, normalise_address

PATIENCE = 3.0  # seconds; reached by a failing test only
LOOPBACK4 = ("127.0.0.1", 0)
LOOPBACK6 = ("::1", 0)


def machine_has_ipv6() -> bool:
    try:
        with socket.socket(socket.AF_INET6, socket.SOCK_DGRAM) as sock:
            sock.bind(LOOPBACK6)
    except OSError:
        return False
    return True


def machine_has(capability: str) -> bool:
    udp = UdpSocket.open(LOOPBACK4 if capability != "pktinfo" else ("0.0.0.0", 0))
    found = bool(getattr(udp.capabilities, capability))
    udp.close()
    return found


needs_ipv6 = pytest.mark.skipif(not machine_has_ipv6(), reason="this machine has no IPv6 loopback address")
needs_gso = pytest.mark.skipif(not machine_has("gso"), reason="this kernel has no UDP_SEGMENT")
needs_gro = pytest.mark.skipif(not machine_has("gro"), reason="this kernel has no UDP_GRO")
needs_ecn = pytest.mark.skipif(not machine_has("ecn"), reason="this machine cannot read or write ECN marks")
needs_pktinfo = pytest.mark.skipif(not machine_has("pktinfo"), reason="this machine has no IP_PKTINFO")
needs_error_queue = pytest.mark.skipif(not machine_has("error_queue"), reason="this kernel has no IP_RECVERR")

Route: TypeAlias = tuple[tuple[str, int] | None, str, tuple[str, int] | None]
# (where the server listens, at which address the client reaches it, where the client is bound)
ROUTES = [
    pytest.param((LOOPBACK4, "127.0.0.1", LOOPBACK4), id="ipv4"),
    pytest.param((LOOPBACK6, "::1", LOOPBACK6), id="ipv6", marks=needs_ipv6),
    pytest.param((None, "127.0.0.1", LOOPBACK4), id="dual-stack-server-ipv4-client", marks=needs_ipv6),
    pytest.param((None, "::1", LOOPBACK6), id="dual-stack-server-ipv6-client", marks=needs_ipv6),
    pytest.param((LOOPBACK4, "127.0.0.1", None), id="ipv4-server-dual-stack-client", marks=needs_ipv6),
    pytest.param((LOOPBACK6, "::1", None), id="ipv6-server-dual-stack-client", marks=needs_ipv6),
]
PATHS = [pytest.param(None, id="offload"), pytest.param(False, id="portable")]


class Scripted:
    """A real socket whose next calls fail as told: an OSError in a script is raised, None lets it pass."""

    def __init__(self, sock: socket.socket) -> None:
        self.real = sock
        self.send_script: list[OSError | None] = []
        self.receive_script: list[OSError | int | None] = []
        self.always: OSError | None = None
        self.calls: list[tuple[int, Any, Any]] = []
        self.buffers: list[Any] = []
        self.refused_option: tuple[int, int] | None = None

    def __getattr__(self, name: str) -> Any:
        return getattr(self.real, name)

    def sendmsg(self, buffers: Any, ancillary: Any = (), flags: int = 0, address: Any = None) -> int:
        self.calls.append((sum(map(len, buffers)), ancillary, address))
        self.buffers += buffers
        if any((level, option) == self.refused_option for level, option, _ in ancillary):
            raise OSError(errno.EINVAL, "refused")
        failure = self.send_script.pop(0) if self.send_script else self.always
        if failure is not None:
            raise failure
        return self.real.sendmsg(buffers, ancillary, flags, address)

    def recvmsg_into(self, buffers: Any, size: int) -> Any:
        told = self.receive_script.pop(0) if self.receive_script else self.always
        if isinstance(told, OSError):
            raise told
        count, ancillary, flags, remote = self.real.recvmsg_into(buffers, size)
        return count, ancillary, flags | (told or 0), remote


class WithoutMessages:
    """A socket as Windows has it: no sendmsg, no recvmsg_into, an ioctl, and errors from recvfrom_into."""

    def __init__(self, sock: socket.socket, *, ioctl_error: Exception | None = None) -> None:
        self._real = sock
        self.failures: list[OSError] = []
        self.always: OSError | None = None
        self.receive_calls = 0
        self.ioctls: list[tuple[int, object]] = []
        self._ioctl_error = ioctl_error
        for name in (
            "bind", "close", "family", "fileno", "getpeername", "getsockname", "getsockopt", "send", "sendto",
            "setblocking", "setsockopt", "type",
        ):  # fmt: skip
            setattr(self, name, getattr(sock, name))

    def ioctl(self, code: int, value: object) -> None:
        self.ioctls.append((code, value))
        if self._ioctl_error is not None:
            raise self._ioctl_error

    def recvfrom_into(self, buffer: memoryview) -> Any:
        self.receive_calls += 1
        if self.failures:
            raise self.failures.pop(0)
        if self.always is not None:
            raise self.always
        return self._real.recvfrom_into(buffer)


def bound(address: tuple[str, int] = LOOPBACK4) -> socket.socket:
    sock = socket.socket(socket.AF_INET6 if ":" in address[0] else socket.AF_INET, socket.SOCK_DGRAM)
    sock.bind(address)
    return sock


def wrapped(fake: object, **options: Any) -> UdpSocket:
    return UdpSocket.wrap(cast("socket.socket", fake), **options)


def closed_port(host: str = "127.0.0.1") -> Address:
    with bound((host, 0)) as sock:
        return normalise_address(sock.getsockname())


def at(host: str, udp: UdpSocket) -> Address:
    return normalise_address((host, udp.local_address[1]))


def train(remote: Address, data: bytes, segment_size: int, *, ecn: int = 0, local: Address | None = None) -> Train:
    return Train([data], segment_size, len(data), local, remote, ecn)


def pattern(size: int) -> bytes:
    return bytes(i * 7 % 251 for i in range(size))


def datagrams(data: bytes, segment_size: int) -> list[bytes]:
    return [data[i : i + segment_size] for i in range(0, len(data), segment_size)]


def wait_readable(udp: UdpSocket) -> None:
    assert select.select([udp], [], [], PATIENCE)[0], "nothing arrived"


def receive(udp: UdpSocket) -> Received:
    while (received := udp.receive()) is None:
        wait_readable(udp)
    return received


def receive_datagrams(udp: UdpSocket, count: int) -> list[bytes]:
    arrived: list[bytes] = []
    while len(arrived) < count:
        received = receive(udp)
        arrived += datagrams(bytes(received.data), received.segment_size)
    assert udp.receive() is None, "more arrived than was sent"
    return arrived


def wait_for_errors(udp: UdpSocket) -> list[PeerError]:
    while not (errors := udp.read_errors()):
        wait_readable(udp)
        assert udp.receive() is None
    return errors


@pytest.fixture(scope="module", params=PATHS)
def offload(request: pytest.FixtureRequest) -> bool | None:
    return cast("bool | None", request.param)


@pytest.fixture(scope="module")
def pair(offload: bool | None) -> Iterator[tuple[UdpSocket, UdpSocket]]:
    """A client and a server over IPv4, for the tests that draw many examples."""
    client, server = UdpSocket.open(LOOPBACK4, offload=offload), UdpSocket.open(LOOPBACK4, offload=offload)
    yield client, server
    client.close()
    server.close()


class Opened:
    """Sockets of a test, closed at its end."""

    def __init__(self) -> None:
        self.all: list[UdpSocket] = []

    def __call__(self, local: Any = LOOPBACK4, **options: Any) -> UdpSocket:
        return self.keep(UdpSocket.open(local, **options))

    def wrap(self, fake: object, **options: Any) -> UdpSocket:
        return self.keep(wrapped(fake, **options))

    def keep(self, udp: UdpSocket) -> UdpSocket:
        self.all.append(udp)
        return udp


@pytest.fixture
def opened() -> Iterator[Opened]:
    made = Opened()
    yield made
    for udp in made.all:
        udp.close()


# --- trains ------------------------------------------------------------------------------------


@pytest.mark.parametrize("route", ROUTES)
@pytest.mark.parametrize(
    ("size", "segment_size"),
    [(1, 1400), (1400, 1400), (1401, 1400), (46 * 1400, 1400), (47 * 1400, 1400), (46 * 1400 - 3, 1400),
     (64 * 100, 100), (65 * 100, 100), (200 * 20 + 1, 20), (60_000, 60_000), (150_000, 9_000)],
)  # fmt: skip
def test_train_arrives_as_sent(
    opened: Opened, offload: bool | None, route: Route, size: int, segment_size: int
) -> None:
    listen, host, client_at = route
    server, client = opened(listen, offload=offload), opened(client_at, offload=offload)
    data = pattern(size)
    assert client.send(train(at(host, server), data, segment_size))
    sent = datagrams(data, segment_size)
    assert receive_datagrams(server, len(sent)) == sent


@st.composite
def layouts(draw: st.DrawFn) -> tuple[list[bytes], int]:
    segment_size = draw(st.integers(1, 1500))
    size = draw(st.integers(1, min(100_000, segment_size * 150)))
    cuts = sorted(draw(st.lists(st.integers(0, size), max_size=40)))
    data = pattern(size)
    return [data[start:stop] for start, stop in zip([0, *cuts], [*cuts, size], strict=True)], segment_size


@settings(deadline=None, max_examples=60)
@given(layout=layouts())
def test_any_gather_list_is_cut_at_segment_size(
    pair: tuple[UdpSocket, UdpSocket], layout: tuple[list[bytes], int]
) -> None:
    client, server = pair
    buffers, segment_size = layout
    data = b"".join(buffers)
    assert client.send(Train(buffers, segment_size, len(data), None, server.local_address, 0))
    sent = datagrams(data, segment_size)
    assert receive_datagrams(server, len(sent)) == sent


def test_more_buffers_than_one_call_takes(opened: Opened, offload: bool | None) -> None:
    server, client = opened(offload=offload), opened(offload=offload)
    buffers = [b"%02d" % (i % 100) for i in range(2_001)]
    data = b"".join(buffers)
    for segment_size in (1000, len(data)):
        assert client.send(Train(buffers, segment_size, len(data), None, server.local_address, 0))
        sent = datagrams(data, segment_size)
        assert receive_datagrams(server, len(sent)) == sent
    assert client.counters == UdpCounters(), "the kernel was asked for more than it takes"


@needs_gso
@pytest.mark.parametrize(
    ("count", "segment_size", "calls"),
    [(1, 1400, 1), (46, 1400, 1), (47, 1400, 2), (64, 100, 1), (65, 100, 2), (129, 100, 3), (3, 40_000, 3)],
)
def test_train_leaves_by_as_few_calls_as_the_kernel_allows(
    opened: Opened, count: int, segment_size: int, calls: int
) -> None:
    server, fake = opened(), Scripted(bound())
    client = opened.wrap(fake)
    assert client.send(train(server.local_address, pattern(count * segment_size), segment_size))
    assert len(fake.calls) == calls
    assert len(receive_datagrams(server, count)) == count


@needs_gso
@needs_gro
def test_train_arrives_in_one_buffer(opened: Opened) -> None:
    server, client = opened(), opened()
    assert client.send(train(server.local_address, pattern(46 * 1400 - 9), 1400))
    received = receive(server)
    assert (len(received.data), received.segment_size) == (46 * 1400 - 9, 1400)
    assert (received.remote, received.local) == (client.local_address, server.local_address)


def test_portable_path_makes_one_call_a_datagram(opened: Opened) -> None:
    server, fake = opened(), Scripted(bound())
    client = opened.wrap(fake, offload=False)
    assert not client.capabilities.gso
    assert not client.capabilities.gro
    assert client.send(train(server.local_address, pattern(3001), 1000))
    assert [size for size, *_ in fake.calls] == [1000, 1000, 1000, 1]


def test_segments_per_call_stays_within_both_limits() -> None:
    for segment_size in (1, 100, 1023, 1024, 1200, 1400, 9000, 65_507):
        count = segments_per_call(segment_size)
        assert 1 <= count <= 64
        assert count * segment_size <= 65_507
    assert segments_per_call(1400) == 46
    assert segments_per_call(65_508) == 1


@needs_ecn
@pytest.mark.parametrize("route", ROUTES)
@pytest.mark.parametrize("count", [1, 5])
def test_ecn_mark_travels_with_the_train(opened: Opened, offload: bool | None, route: Route, count: int) -> None:
    listen, host, client_at = route
    server, client = opened(listen, offload=offload), opened(client_at, offload=offload)
    for ecn in (0, 1, 2, 3, 0):
        assert client.send(train(at(host, server), pattern(count * 100), 100, ecn=ecn))
        left = count
        while left:
            received = receive(server)
            assert received.ecn == ecn
            left -= len(received.data) // received.segment_size
        # And back, from the side whose socket may be of another family.
        assert server.send(train(received.remote, b"answer", 100, ecn=ecn, local=received.local))
        assert receive(client).ecn == ecn


# --- addresses ---------------------------------------------------------------------------------


@needs_pktinfo
@pytest.mark.parametrize(
    "listen",
    [
        pytest.param(("0.0.0.0", 0), id="ipv4"),
        pytest.param(None, id="dual-stack", marks=needs_ipv6),
        pytest.param(("::", 0), id="dual-stack-written-out", marks=needs_ipv6),
    ],
)
@pytest.mark.parametrize("count", [1, 5])
def test_wildcard_server_answers_from_the_address_that_was_hit(
    opened: Opened, offload: bool | None, listen: Any, count: int
) -> None:
    server, client = opened(listen, offload=offload), opened(offload=offload)
    for host in ("127.0.0.2", "127.0.0.3"):
        assert client.send(train(at(host, server), b"ping", 100))
        received = receive(server)
        assert received.local == (host, server.local_address[1])
        assert received.remote == client.local_address
        assert server.send(train(received.remote, pattern(100 * count), 100, local=received.local))
        left = 100 * count
        while left:
            answer = receive(client)
            assert answer.remote == received.local
            left -= len(answer.data)


@needs_pktinfo
@needs_ipv6
def test_wildcard_server_tells_the_ipv6_address_that_was_hit(opened: Opened, offload: bool | None) -> None:
    server, client = opened(None, offload=offload), opened(LOOPBACK6, offload=offload)
    assert client.send(train(at("::1", server), b"ping", 100))
    received = receive(server)
    assert received.local == ("::1", server.local_address[1], 0, 0)
    assert server.send(train(received.remote, b"pong", 100, local=received.local))
    assert receive(client).remote == received.local


@needs_pktinfo
@pytest.mark.parametrize("count", [1, 5])
def test_vanished_local_address_is_replaced(opened: Opened, offload: bool | None, count: int) -> None:
    server, client = opened(offload=offload), opened(("0.0.0.0", 0), offload=offload)
    gone = ("203.0.113.1", client.local_address[1])
    data = pattern(count * 100)
    assert client.send(train(server.local_address, data, 100, local=gone))
    assert receive_datagrams(server, count) == datagrams(data, 100)
    assert client.counters.local_replaced == 1


def test_local_address_of_the_other_family_is_ignored(opened: Opened) -> None:
    server, client = opened(), opened(("0.0.0.0", 0))
    assert client.send(train(server.local_address, b"x", 1, local=("::1", 1, 0, 0)))
    assert receive_datagrams(server, 1) == [b"x"]


@needs_ipv6
def test_unreachable_family_is_dropped_and_reported(opened: Opened) -> None:
    client, remote = opened(LOOPBACK4), closed_port("::1")
    for size in (10, 30):
        assert client.send(train(remote, pattern(size), 10))
    errors = client.read_errors()
    assert [(e.remote, e.error.errno) for e in errors] == [(remote, errno.EAFNOSUPPORT)] * 2
    assert client.counters.unsendable == 4


addresses = st.one_of(
    st.tuples(st.ip_addresses(v=4).map(str), st.integers(0, 65535)),
    st.tuples(st.ip_addresses(v=6).map(str), st.integers(0, 65535)),
)


@given(address=addresses)
def test_an_address_has_one_form(address: tuple[str, int]) -> None:
    form = normalise_address(address)
    assert normalise_address(form) == form
    assert address_from_kernel(address_to_kernel(form)) == form
    parsed = ipaddress.ip_address(address[0])
    if isinstance(parsed, ipaddress.IPv6Address):
        assert normalise_address((parsed.exploded, address[1])) == form
        parsed = parsed.ipv4_mapped or parsed
    assert ipaddress.ip_address(form[0]) == parsed
    assert len(form) == (2 if parsed.version == 4 else 4)


def test_mapped_address_equals_the_ipv4_one_and_a_lookalike_does_not() -> None:
    assert normalise_address(("::ffff:127.0.0.1", 9, 0, 0)) == ("127.0.0.1", 9)
    assert address_from_kernel(("::ffff:127.0.0.1", 9, 0, 0)) == ("127.0.0.1", 9)
    assert address_from_kernel(("::ffff:0:0:1", 9, 0, 0)) == ("::ffff:0:0:1", 9, 0, 0)
    assert address_from_kernel(("::1", 9, 77, 0)) == ("::1", 9, 0, 0)


def test_scope_is_kept_for_link_local_addresses_alone() -> None:
    assert normalise_address(("fe80::1", 9, 5, 3)) == ("fe80::1", 9, 0, 3)
    assert normalise_address(("fe80::1%7", 9)) == ("fe80::1", 9, 0, 7)
    assert normalise_address(("2001:db8::1", 9, 0, 3)) == ("2001:db8::1", 9, 0, 0)


# --- full buffers ------------------------------------------------------------------------------


def apart(data: bytes, segment_size: int, each: int) -> list[bytes]:
    """Buffers of which each datagram has `each` for itself, as packets have a header, a payload and maybe a trailer."""
    return [
        datagram[size * number // each : size * (number + 1) // each]
        for datagram in datagrams(data, segment_size)
        for size in [len(datagram)]
        for number in range(each)
    ]


def passing_failures(script: list[int | None]) -> list[int | None]:
    """`script` without the fourth error in a row, which would be believed, and the ninth full queue."""
    kept: list[int | None] = []
    errors = queue_full = 0
    for number in script:
        errors += number in (errno.ECONNREFUSED, errno.EMSGSIZE)
        queue_full += number == errno.ENOBUFS
        if number is None:
            errors = queue_full = 0
        if errors <= 3 and queue_full <= 8:
            kept.append(number)
    return kept


@settings(deadline=None, max_examples=80)
@given(
    sizes=st.lists(st.integers(1, 12_000), min_size=1, max_size=4),
    script=st.lists(
        st.sampled_from([None, errno.EAGAIN, errno.ENOBUFS, errno.ECONNREFUSED, errno.EMSGSIZE]), max_size=30
    ),
    each=st.integers(0, 3),
)
def test_blocked_trains_resume_where_they_stopped(
    offload: bool | None, sizes: list[int], script: list[int | None], each: int
) -> None:
    """No datagram is lost or sent twice, whichever calls fail for a while; each has `each` buffers, or all have one."""
    script = passing_failures(script)
    server, fake = UdpSocket.open(LOOPBACK4, offload=offload), Scripted(bound())
    client = wrapped(fake, offload=offload)
    fake.send_script = [OSError(number, "scripted") if number else None for number in script]
    expected: list[bytes] = []
    for index, size in enumerate(sizes):
        data = pattern(size)
        data = bytes([index]) + data[1:]
        expected += datagrams(data, 500)
        one = train(server.local_address, data, 500)
        if each:
            one = one._replace(buffers=apart(data, 500, each))
        for _ in range(len(script) + 1):
            if client.send(one):
                break
        else:
            pytest.fail("a train stayed blocked although the socket took everything")
    assert receive_datagrams(server, len(expected)) == expected
    client.close()
    server.close()


@pytest.mark.parametrize("last", [60_000, 1])
@pytest.mark.parametrize("stopped", [0, 1, 4])
def test_datagrams_of_which_no_two_fit_into_one_call_leave_as_they_lie(
    opened: Opened, offload: bool | None, last: int, stopped: int
) -> None:
    server, fake = opened(), Scripted(bound())
    client = opened.wrap(fake, offload=offload)
    data = pattern(4 * 60_000 + last)
    buffers = apart(data, 60_000, 2)
    one = Train(buffers, 60_000, len(data), None, server.local_address, 0)
    fake.send_script = [*[None] * stopped, BlockingIOError(errno.EAGAIN, "full")]
    assert not client.send(one)
    assert client.send(one)
    assert receive_datagrams(server, 5) == datagrams(data, 60_000)
    assert len(fake.calls) == 5 + 1
    assert all(any(sent is given for given in buffers) for sent in fake.buffers), "nothing is copied"


def test_abandoned_train_does_not_hold_up_the_next(opened: Opened) -> None:
    server, fake = opened(), Scripted(bound())
    client = opened.wrap(fake, offload=False)
    fake.send_script = [None, BlockingIOError(errno.EAGAIN, "full")]
    assert not client.send(train(server.local_address, b"aabb", 2))
    assert client.send(train(server.local_address, b"ccdd", 2))
    assert receive_datagrams(server, 3) == [b"aa", b"cc", b"dd"]


def test_full_interface_queue_gives_up_in_the_end(opened: Opened, offload: bool | None) -> None:
    fake = Scripted(bound())
    client, remote = opened.wrap(fake, offload=offload), closed_port()
    fake.always = OSError(errno.ENOBUFS, "no buffer space")
    one = train(remote, pattern(250), 100)
    tries = 0
    while not client.send(one):
        tries += 1
        assert tries < 100
    assert tries > 1
    assert client.counters.queue_full == 3
    assert [(e.remote, e.error.errno) for e in client.read_errors()] == [(remote, errno.ENOBUFS)]


# --- refused offload, sizes and marks ----------------------------------------------------------


@needs_gso
@pytest.mark.parametrize(("number", "stays"), [(errno.EIO, False), (errno.EINVAL, True), (errno.EMSGSIZE, True)])
def test_refused_train_goes_one_by_one(opened: Opened, number: int, stays: bool) -> None:
    server, fake = opened(), Scripted(bound())
    client = opened.wrap(fake)
    fake.send_script = [OSError(number, "scripted")]
    data = pattern(10 * 100 - 1)
    assert client.send(train(server.local_address, data, 100))
    assert receive_datagrams(server, 10) == datagrams(data, 100)
    assert len(fake.calls) == 11
    assert client.capabilities.gso is stays
    assert client.counters.offload_refused == 1
    fake.calls.clear()
    assert client.send(train(server.local_address, data, 100))
    assert len(fake.calls) == (1 if stays else 10)


def test_datagram_too_big_is_dropped_counted_and_reported(opened: Opened, offload: bool | None) -> None:
    server, client = opened(offload=offload), opened(offload=offload)
    assert client.send(train(server.local_address, pattern(65_530 + 10), 65_530))
    assert receive_datagrams(server, 1) == [pattern(65_530 + 10)[65_530:]]
    assert client.counters.too_big == 1
    errors = client.read_errors()
    assert [(e.remote, e.error.errno) for e in errors] == [(server.local_address, errno.EMSGSIZE)]
    assert client.read_errors() == []
    assert not select.select([client], [], [], 0)[0], "an error left in the kernel keeps the socket awake"


@needs_ecn
def test_machine_that_refuses_marks_sends_without(opened: Opened, offload: bool | None) -> None:
    server, fake = opened(), Scripted(bound())
    client = opened.wrap(fake, offload=offload)
    assert client.capabilities.ecn
    fake.refused_option = (socket.IPPROTO_IP, cast("int", udp_options.IP_TOS))
    data = pattern(300)
    for _ in range(2):
        assert client.send(train(server.local_address, data, 100, ecn=2))
        assert receive_datagrams(server, 3) == datagrams(data, 100)
    assert not client.capabilities.ecn


@needs_ecn
def test_unsendable_train_does_not_cost_the_marks(opened: Opened, offload: bool | None) -> None:
    client = opened(offload=offload)
    for size in (50, 300):
        assert client.send(train(("127.0.0.1", 0), pattern(size), 100, ecn=2))
    assert client.capabilities.ecn
    assert client.counters.unsendable == 4
    assert {e.error.errno for e in client.read_errors()} == {errno.EINVAL}


# --- errors from the network -------------------------------------------------------------------


@needs_error_queue
@pytest.mark.parametrize(
    ("client_at", "host"),
    [
        pytest.param(LOOPBACK4, "127.0.0.1", id="ipv4"),
        pytest.param(LOOPBACK6, "::1", id="ipv6", marks=needs_ipv6),
        pytest.param(None, "127.0.0.1", id="dual-stack-to-ipv4", marks=needs_ipv6),
        pytest.param(None, "::1", id="dual-stack-to-ipv6", marks=needs_ipv6),
    ],
)
@pytest.mark.parametrize("count", [1, 20])
def test_closed_port_is_reported_with_its_address(
    opened: Opened, offload: bool | None, client_at: Any, host: str, count: int
) -> None:
    client, remote = opened(client_at, offload=offload), closed_port(host)
    assert client.send(train(remote, pattern(count * 100), 100))
    for error in wait_for_errors(client):
        assert error.remote == remote
        assert isinstance(error.error, ConnectionRefusedError)
    while client.read_errors():
        pass
    assert client.receive() is None
    assert not select.select([client], [], [], 0)[0], "an error left in the kernel keeps the socket awake"


@needs_error_queue
def test_refused_peer_costs_others_nothing(opened: Opened, offload: bool | None) -> None:
    server, client, gone = opened(offload=offload), opened(offload=offload), closed_port()
    expected: list[bytes] = []
    for index in range(50):
        assert client.send(train(gone, pattern(300), 100))
        data = bytes([index]) * 250
        assert client.send(train(server.local_address, data, 100))
        expected += datagrams(data, 100)
    assert receive_datagrams(server, len(expected)) == expected
    assert {error.remote for error in wait_for_errors(client)} == {gone}


@needs_error_queue
def test_error_does_not_hide_what_has_arrived(opened: Opened, offload: bool | None) -> None:
    server, client = opened(offload=offload), opened(offload=offload)
    assert server.send(train(client.local_address, b"hello", 100))
    assert client.send(train(closed_port(), b"x", 1))
    assert bytes(receive(client).data) == b"hello"
    assert wait_for_errors(client)


@needs_error_queue
def test_error_that_only_the_queue_still_holds_is_found(opened: Opened) -> None:
    client, gone = opened(), closed_port()
    assert client.send(train(gone, b"x", 1))
    assert client.sock.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR) == errno.ECONNREFUSED
    found: list[PeerError] = []
    for _ in range(3):
        wait_readable(client)
        assert client.receive() is None
        found += client.read_errors()
        if found:
            break
    assert [error.remote for error in found] == [gone]


@needs_error_queue
def test_errors_are_read_a_bounded_number_at_a_time(opened: Opened) -> None:
    client, gone = opened(offload=False), closed_port()
    reported = 0
    for _ in range(4):
        assert client.send(train(gone, pattern(100), 1))
    wait_readable(client)
    while errors := client.read_errors():
        assert len(errors) <= 128
        reported += len(errors)
    assert reported > 128
    assert client.counters.errors == reported


def test_errors_on_every_call_end(opened: Opened, offload: bool | None) -> None:
    fake = Scripted(bound())
    client, remote = opened.wrap(fake, offload=offload), closed_port()
    fake.always = ConnectionRefusedError(errno.ECONNREFUSED, "refused")
    assert client.send(train(remote, pattern(1000), 100))
    assert len(fake.calls) < 50
    assert client.counters.unsendable == 10
    assert [(e.remote, e.error.errno) for e in client.read_errors()] == [(remote, errno.ECONNREFUSED)]
    assert client.receive() is None


@pytest.mark.parametrize("number", [errno.EPERM, errno.ENETDOWN, errno.ENOMEM, errno.ENETUNREACH])
def test_interface_error_drops_the_train_and_tells(opened: Opened, offload: bool | None, number: int) -> None:
    server, fake = opened(), Scripted(bound())
    client = opened.wrap(fake, offload=offload)
    fake.always = OSError(number, "scripted")
    assert client.send(train(server.local_address, pattern(500), 100))
    assert client.counters.unsendable == 5
    assert [(e.remote, e.error.errno) for e in client.read_errors()] == [(server.local_address, number)]
    fake.always = None
    assert client.send(train(server.local_address, b"again", 100))
    assert receive_datagrams(server, 1) == [b"again"]


# --- receiving ---------------------------------------------------------------------------------


def test_datagrams_that_wait_are_merged_from_the_second_on(opened: Opened) -> None:
    client, server = opened(), opened()
    for number in range(6):
        assert client.send(train(server.local_address, bytes([number]) * 100, 100))
    alone = receive(server)
    assert (bytes(alone.data), alone.segment_size) == (bytes(100), 100)
    merged = receive(server)
    assert bytes(merged.data) == b"".join(bytes([number]) * 100 for number in range(1, 6))
    assert merged.segment_size == 100
    assert merged.remote == client.local_address
    assert server.receive() is None


@pytest.mark.parametrize("first", [False, True])
def test_large_ones_are_merged_from_the_first_on_also_after_one_that_was_alone(opened: Opened, first: bool) -> None:
    client, server = opened(), opened()
    for count in (3, 1, 2):
        sent = [bytes([number]) * WORTH_A_LOOK for number in range(count)]
        for data in sent:
            assert client.send(train(server.local_address, data, len(data)))
        merged = server.receive(first=first)
        assert merged is not None
        assert (bytes(merged.data), merged.segment_size) == (b"".join(sent), WORTH_A_LOOK)
        assert server.receive() is None
        server.read_errors()


def test_in_a_bulk_flow_they_are_merged_from_the_first_on_until_one_comes_alone(opened: Opened) -> None:
    client, server = opened(), opened()
    sizes: list[list[int]] = []
    for count in (4, 4, 1, 4):
        for _ in range(count):
            assert client.send(train(server.local_address, b"x" * 100, 100))
        found = [len(receive(server).data)]
        while (received := server.receive()) is not None:
            found.append(len(received.data))
        sizes.append(found)
    assert sizes == [[100, 300], [400], [100], [100, 300]]


def test_no_more_datagrams_are_merged_than_the_kernel_would(opened: Opened) -> None:
    client, server = opened(), opened()
    for _ in range(200):
        assert client.send(train(server.local_address, b"x", 1))
    assert [len(receive(server).data) for _ in range(4)] == [1, 64, 64, 64]


@pytest.mark.parametrize(
    ("size", "most"),
    [(1400, MERGED_SIZE), (8998, MERGED_SIZE), (9000, LARGE_MERGED_SIZE), (50_000, LARGE_MERGED_SIZE)],
)
def test_merged_datagrams_fit_one_buffer(opened: Opened, size: int, most: int) -> None:
    client, server = opened(), opened()
    sent = [number.to_bytes(2, "big") * (size // 2) for number in range(3 + 2 * most // size)]
    for data in sent:
        assert client.send(train(server.local_address, data, size))
    buffers = []
    while (received := server.receive()) is not None:
        assert received.segment_size == size
        buffers.append(bytes(received.data))
    assert max(map(len, buffers)) <= most
    assert min(map(len, buffers[1:-1])) > min(63 * size, most - RECEIVE_SIZE), "buffers are filled"
    assert b"".join(buffers) == b"".join(sent)


@needs_gso
@pytest.mark.parametrize("last", [1, 0.5])
def test_trains_that_wait_behind_one_another_are_merged_up_to_a_shorter_packet(opened: Opened, last: float) -> None:
    client, server = opened(), opened()
    sizes = [46 * 1400] * 15
    sizes[1] = int(sizes[1] - 1400 * (1 - last))
    for number, size in enumerate(sizes):
        assert client.send(train(server.local_address, bytes([number]) * size, 1400))
    found = []
    while (received := server.receive()) is not None:
        assert received.segment_size == 1400
        found.append(bytes(received.data))
    assert [len(data) // 64_000 for data in found] == ([12, 3] if last == 1 else [2, 12, 1])
    assert b"".join(found) == b"".join(bytes([number]) * size for number, size in enumerate(sizes))


def test_what_arrives_after_a_look_in_vain_is_found_at_the_next_wakeup(opened: Opened) -> None:
    """As long as errors are read at the end of each wake-up, as the contract says."""
    client, server = opened(), opened()
    for number in range(20):
        for _ in range(1 + number % 3):
            assert client.send(train(server.local_address, bytes([number]) * 300, 100))
        data = bytes(receive(server).data)
        # Whether the driver looks once more or not.
        if number % 2:
            while (more := server.receive()) is not None:
                data += bytes(more.data)
        assert server.read_errors() == []
        if not number % 2:
            while (more := server.receive()) is not None:
                data += bytes(more.data)
        assert data == bytes([number]) * 300 * (1 + number % 3)


@given(
    st.lists(
        st.tuples(
            st.integers(0, 1), st.sampled_from([1, 99, 100, 101, 1400]), st.sampled_from([0, 2]),
            st.sampled_from([1, 1, 2, 3, 20]), st.integers(0, 1),
        ),
        min_size=1,
        max_size=30,
    )
)  # fmt: skip
def test_merging_keeps_every_datagram_its_order_its_sender_and_its_mark(
    drawn: list[tuple[int, int, int, int, int]],
) -> None:
    sent = [(who, size, ecn, [size] * (count - 1) + [max(1, size - less)]) for who, size, ecn, count, less in drawn]
    made = Opened()
    try:
        server = made()
        clients = [made(), made()]
        for number, (who, size, ecn, sizes) in enumerate(sent):
            assert clients[who].send(train(server.local_address, bytes([number]) * sum(sizes), size, ecn=ecn))
        arrived: list[tuple[Address, int, bytes]] = []
        while len(arrived) < sum(len(sizes) for *_, sizes in sent):
            received = receive(server)
            data = datagrams(bytes(received.data), received.segment_size)
            arrived += [(received.remote, received.ecn, piece) for piece in data]
        marks = server.capabilities.ecn
        assert arrived == [
            (clients[who].local_address, ecn if marks else 0, bytes([number]) * size)
            for number, (who, _, ecn, sizes) in enumerate(sent)
            for size in sizes
        ]
        assert server.receive() is None
    finally:
        for udp in made.all:
            udp.close()


@needs_gso
def test_what_the_kernel_merged_is_no_part_of_single_datagrams(opened: Opened) -> None:
    client, server = opened(), opened()
    sizes = [100, 100, 10 * 100, 5 * 100 - 1, 100, 100]
    for number, size in enumerate(sizes):
        assert client.send(train(server.local_address, bytes([number]) * size, 100))
    buffers = []
    while (received := server.receive()) is not None:
        buffers.append(bytes(received.data))
    assert b"".join(buffers) == b"".join(bytes([number]) * size for number, size in enumerate(sizes))
    assert bytes([2]) * 1000 + bytes([3]) * 499 in [data[-1499:] for data in buffers]


def test_nothing_to_receive_is_none(opened: Opened, offload: bool | None) -> None:
    udp = opened(offload=offload)
    for _ in range(3):
        assert udp.receive() is None
        assert udp.read_errors() == []


def test_empty_datagrams_are_stepped_over(opened: Opened, offload: bool | None) -> None:
    server = opened(offload=offload)
    with bound() as raw:
        for data in (b"", b"", b"x"):
            raw.sendto(data, server.local_address)
    assert receive_datagrams(server, 1) == [b"x"]
    assert server.counters.empty == 2


def test_endless_empty_datagrams_do_not_hold_the_caller(opened: Opened) -> None:
    server = opened()
    with bound() as raw:
        for _ in range(100):
            raw.sendto(b"", server.local_address)
        raw.sendto(b"x", server.local_address)
    assert server.receive() is None
    assert 0 < server.counters.empty < 100
    assert receive_datagrams(server, 1) == [b"x"]


@pytest.mark.parametrize("flag", [socket.MSG_TRUNC, socket.MSG_CTRUNC])
def test_cut_short_datagram_is_dropped_and_counted(opened: Opened, flag: int) -> None:
    fake = Scripted(bound())
    server, client = opened.wrap(fake), opened()
    fake.receive_script = [flag]
    assert client.send(train(server.local_address, b"cut", 100))
    assert client.send(train(server.local_address, b"whole", 100))
    assert receive_datagrams(server, 1) == [b"whole"]
    assert server.counters.truncated == 1


def test_largest_datagram_arrives_whole(opened: Opened, offload: bool | None) -> None:
    server, client = opened(offload=offload), opened(offload=offload)
    data = pattern(65_507)
    assert client.send(train(server.local_address, data, len(data)))
    assert receive_datagrams(server, 1) == [data]


# --- machines with less ------------------------------------------------------------------------


def test_machine_without_messages_carries_trains(opened: Opened) -> None:
    fakes = [WithoutMessages(bound()) for _ in range(2)]
    client, server = (opened.wrap(fake) for fake in fakes)
    able = server.capabilities
    assert not any((able.ancillary, able.gso, able.gro, able.ecn, able.pktinfo, able.error_queue))
    data = pattern(2_500)
    chunks: list[bytes | memoryview] = [data[:30], data[30:1000], memoryview(data)[1000:]]
    assert client.send(Train(chunks, 1000, len(data), None, server.local_address, 2))
    assert client.send(Train(chunks, 3000, len(data), None, server.local_address, 2))
    assert receive_datagrams(server, 4) == [*datagrams(data, 1000), data]
    assert fakes[0].ioctls == [(0x9800000C, False)]


@pytest.mark.parametrize("ioctl_error", [ValueError("invalid ioctl command"), OSError(10022, "invalid")])
def test_connection_reset_from_receive_is_reported_and_passed(opened: Opened, ioctl_error: Exception) -> None:
    fake = WithoutMessages(bound(), ioctl_error=ioctl_error)
    server, client = opened.wrap(fake), opened()
    fake.failures = [ConnectionResetError(errno.ECONNRESET, "port unreachable") for _ in range(3)]
    assert client.send(train(server.local_address, b"x", 1))
    assert receive_datagrams(server, 1) == [b"x"]
    errors = server.read_errors()
    assert [error.remote for error in errors] == [None] * 3
    assert all(isinstance(error.error, ConnectionResetError) for error in errors)


def test_endless_connection_reset_does_not_hold_the_caller(opened: Opened) -> None:
    fake = WithoutMessages(bound())
    server = opened.wrap(fake)
    fake.always = ConnectionResetError(errno.ECONNRESET, "port unreachable")
    assert server.receive() is None
    assert server.receive() is None
    assert fake.receive_calls <= 128
    assert len(server.read_errors()) <= 64
    assert server.read_errors() == []


def test_datagram_cut_short_as_windows_tells_it(opened: Opened) -> None:
    fake = WithoutMessages(bound())
    server = opened.wrap(fake)
    fake.failures = [OSError(errno.EMSGSIZE, "larger than the buffer")]
    assert server.receive() is None
    assert server.counters.truncated == 1
    assert server.read_errors() == []


def test_kernel_that_knows_no_option_still_carries_trains(opened: Opened) -> None:
    class Bare(Scripted):
        def setsockopt(self, *_: Any) -> None:
            raise OSError(errno.ENOPROTOOPT, "protocol not available")

    client, server = opened.wrap(Bare(bound())), opened.wrap(Bare(bound()))
    able = client.capabilities
    assert not any((able.gso, able.gro, able.ecn, able.pktinfo, able.error_queue, able.dont_fragment))
    assert able.ancillary
    data = pattern(2_500)
    assert client.send(train(server.local_address, data, 1000, ecn=2))
    assert receive_datagrams(server, 3) == datagrams(data, 1000)


# --- opening and closing -----------------------------------------------------------------------


def test_fragmentation_is_forbidden_from_the_start(opened: Opened) -> None:
    udp = opened()
    assert udp.capabilities.dont_fragment
    mode = udp.sock.getsockopt(socket.IPPROTO_IP, cast("int", udp_options.IP_MTU_DISCOVER))
    assert mode in (2, 3)


def test_buffer_sizes_asked_and_granted(opened: Opened) -> None:
    sizes = opened(buffer_size=500_000).buffer_sizes
    assert sizes.asked == 500_000
    assert sizes.receive > 0
    assert sizes.send > 0


def test_buffers_are_never_made_smaller(opened: Opened) -> None:
    with bound() as raw:
        options = (socket.SO_RCVBUF, socket.SO_SNDBUF)
        before = [raw.getsockopt(socket.SOL_SOCKET, option) for option in options]
    udp = opened(buffer_size=1)
    assert [udp.sock.getsockopt(socket.SOL_SOCKET, option) for option in options] == before


def test_refused_buffer_size_is_halved_until_taken(opened: Opened) -> None:
    class Stingy(Scripted):
        def setsockopt(self, level: int, option: int, value: int) -> None:
            if level == socket.SOL_SOCKET and (option not in (socket.SO_RCVBUF, socket.SO_SNDBUF) or value > 2**20):
                raise OSError(errno.ENOBUFS, "no buffer space")
            self.real.setsockopt(level, option, value)

    sizes = opened.wrap(Stingy(bound()), buffer_size=2**23).buffer_sizes
    assert sizes.asked == 2**23
    assert 0 < sizes.receive <= 2**20
    assert 0 < sizes.send <= 2**20


def test_capabilities_name_the_families(opened: Opened) -> None:
    able = opened(LOOPBACK4).capabilities
    assert (able.ipv6, able.dual_stack) == (False, False)


@needs_ipv6
def test_dual_stack_unless_a_family_is_asked_for(opened: Opened) -> None:
    assert opened(None).capabilities.dual_stack
    assert opened(("", 0)).capabilities.dual_stack
    able = opened(("", 0), family=socket.AF_INET6).capabilities
    assert (able.ipv6, able.dual_stack) == (True, False)
    assert opened(("", 0), family=socket.AF_INET).local_address[0] == "0.0.0.0"
    assert opened(LOOPBACK6).local_address[0] == "::1"


def test_machine_without_ipv6_opens_ipv4(opened: Opened, monkeypatch: pytest.MonkeyPatch) -> None:
    real = socket.socket

    def without_ipv6(family: int, kind: int) -> socket.socket:
        if family == socket.AF_INET6:
            raise OSError(errno.EAFNOSUPPORT, "address family not supported")
        return real(family, kind)

    monkeypatch.setattr(socket, "socket", without_ipv6)
    assert opened(None).local_address[0] == "0.0.0.0"
    with pytest.raises(SocketError, match="does not support that address family") as caught:
        UdpSocket.open(LOOPBACK6)
    assert caught.value.errno == errno.EAFNOSUPPORT


def test_port_in_use(opened: Opened) -> None:
    first = opened()
    with pytest.raises(SocketError, match=r"127\.0\.0\.1 port \d+: the port is in use.*choose another") as caught:
        UdpSocket.open(first.local_address)
    assert caught.value.errno == errno.EADDRINUSE
    assert isinstance(caught.value, OSError)


def test_permission_denied(monkeypatch: pytest.MonkeyPatch) -> None:
    class Forbidden(socket.socket):
        def bind(self, _address: Any) -> None:
            raise PermissionError(errno.EACCES, "denied")

    monkeypatch.setattr(socket, "socket", Forbidden)
    with pytest.raises(SocketError, match=r"port 80: permission denied.*higher") as caught:
        UdpSocket.open(("127.0.0.1", 80))
    assert caught.value.errno == errno.EACCES


@pytest.mark.parametrize(
    ("address", "number", "text"),
    [
        (("203.0.113.1", 0), errno.EADDRNOTAVAIL, "no interface of this machine has that address"),
        (("example.invalid", 0), errno.EINVAL, "resolve host names first"),
        (("1.2.3", 0), errno.EINVAL, "neither a numeric IPv4 nor IPv6 address"),
        (("::1::", 0), errno.EINVAL, "neither a numeric IPv4 nor IPv6 address"),
        (("127.0.0.1\0", 0), errno.EINVAL, "neither a numeric IPv4 nor IPv6 address"),
        (("fe80::1%nowhere0", 0), errno.ENODEV, "no interface of this machine is called 'nowhere0'"),
        (("127.0.0.1", 65_536), errno.EINVAL, "integer from 0 to 65535"),
        (("127.0.0.1", -1), errno.EINVAL, "integer from 0 to 65535"),
        (("", "http"), errno.EINVAL, "integer from 0 to 65535"),
    ],
)
def test_bad_address(address: Any, number: int, text: str) -> None:
    with pytest.raises(SocketError, match=text) as caught:
        UdpSocket.open(address)
    assert caught.value.errno == number


def test_address_of_another_family_than_asked_for() -> None:
    with pytest.raises(SocketError, match="leave family at 0"):
        UdpSocket.open(LOOPBACK4, family=socket.AF_INET6)


def test_shared_port(opened: Opened, monkeypatch: pytest.MonkeyPatch) -> None:
    first = opened(reuse_port=True)
    assert opened(first.local_address, reuse_port=True).local_address == first.local_address
    monkeypatch.delattr(socket, "SO_REUSEPORT")
    with pytest.raises(SocketError, match="without reuse_port"):
        UdpSocket.open(LOOPBACK4, reuse_port=True)


def test_users_own_socket_is_bound_and_made_non_blocking(opened: Opened) -> None:
    sock = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    udp = opened.wrap(sock)
    assert udp.sock is sock
    assert udp.local_address[1] != 0
    assert udp.fileno() == sock.fileno()
    assert udp.receive() is None


def test_connected_socket_talks_to_its_peer(opened: Opened, offload: bool | None) -> None:
    server, fake = opened(offload=offload), Scripted(bound())
    fake.connect(server.local_address)
    client = opened.wrap(fake, offload=offload)
    data = pattern(300)
    assert client.send(train(server.local_address, data, 100))
    assert {address for _, _, address in fake.calls} == {None}, "some systems refuse an address here"
    assert receive_datagrams(server, 3) == datagrams(data, 100)
    remote = server.local_address
    server.close()
    assert client.send(train(remote, data, 100))
    assert {error.remote for error in wait_for_errors(client)} == {remote}


def test_connected_socket_without_error_queue_names_its_peer(opened: Opened) -> None:
    sock, remote = bound(), closed_port()
    sock.connect(remote)
    client = opened.wrap(WithoutMessages(sock))
    assert client.send(train(remote, b"xy", 1))
    wait_readable(client)
    assert client.receive() is None
    errors = client.read_errors()
    assert errors
    assert {(error.remote, error.error.errno) for error in errors} == {(remote, errno.ECONNREFUSED)}


def test_other_sockets_are_refused() -> None:
    with (
        socket.socket(socket.AF_INET, socket.SOCK_STREAM) as sock,
        pytest.raises(SocketError, match="needs UDP"),
    ):
        UdpSocket.wrap(sock)
    closed = bound()
    closed.close()
    with pytest.raises(SocketError) as caught:
        UdpSocket.wrap(closed)
    assert caught.value.errno == errno.EBADF


def test_closed_socket_says_so(opened: Opened, offload: bool | None) -> None:
    udp = opened(offload=offload)
    remote = udp.local_address
    udp.close()
    udp.close()
    assert udp.fileno() == -1
    assert udp.read_errors() == []
    for size in (10, 1000):
        with pytest.raises(SocketError, match="closed"):
            udp.send(train(remote, pattern(size), 100))
    with pytest.raises(SocketError, match="closed"):
        udp.receive()


@pytest.mark.skipif(not hasattr(os, "fork"), reason="there is no fork")
def test_what_a_forked_child_receives_is_nothing_of_its_parents(opened: Opened) -> None:
    receiver = opened(("127.0.0.1", 0))
    receiver._view[:6] = b"parent"
    child = os.fork()
    if not child:
        receiver._view[:6] = b"child!"
        os._exit(0)
    os.waitpid(child, 0)
    assert bytes(receiver._view[:6]) == b"parent"
