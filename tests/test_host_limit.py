"""Laws of how many connections a host may open."""

from ipaddress import IPv4Address, IPv6Address, IPv6Network

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from rudp.host_limit import BURST, PLACES, HostLimit, host_of

KEY = bytes(16)


def taken(limit: HostLimit, address: str, start: float, seconds: float, asks: int) -> int:
    """How many a host gets that asks so often."""
    count = 0
    for number in range(asks):
        now = start + seconds * number / asks
        if limit.allows(address, now):
            limit.charge(address, now)
            count += 1
    return count


@pytest.mark.parametrize("start", [0.0, 1e6])
def test_a_host_gets_its_rate_and_half_a_second_s_worth_at_once(start: float) -> None:
    limit = HostLimit(100, KEY)
    assert taken(limit, "10.0.0.1", start, 0.0, 500) == pytest.approx(100 * BURST, abs=1)
    assert taken(limit, "10.0.0.1", start, 10.0, 10_000) == pytest.approx(1000, abs=1)
    # Never more than that is saved up.
    assert taken(limit, "10.0.0.1", start + 1000, 0.0, 500) == pytest.approx(100 * BURST, abs=1)


def test_others_are_not_held_back() -> None:
    limit = HostLimit(100, KEY)
    assert taken(limit, "10.0.0.1", 0.0, 0.0, 500) < 500
    assert not limit.allows("10.0.0.1", 0.0)
    assert limit.allows("10.0.0.2", 0.0)


def test_it_may_take_one_more_at_the_instant_when_the_last_is_paid_for() -> None:
    limit = HostLimit(4, KEY)
    for _ in range(4):
        limit.charge("10.0.0.2", 0.0)
    for _ in range(2):
        limit.charge("10.0.0.1", 0.0)
    assert limit.allows("10.0.0.1", 0.0)
    assert not limit.allows("10.0.0.2", 0.0)


def test_what_is_taken_beyond_it_is_paid_for_later() -> None:
    limit = HostLimit(100, KEY)
    for _ in range(150):
        limit.charge("10.0.0.1", 0.0)
    assert not limit.allows("10.0.0.1", 0.999)
    assert limit.allows("10.0.0.1", 1.001)


def test_it_holds_the_same_for_any_number_of_hosts() -> None:
    limit = HostLimit(100, KEY)
    for number in range(3 * PLACES):
        limit.charge(str(IPv4Address(number)), 0.0)
    assert limit._paid_at is not None
    assert len(limit._paid_at) == PLACES


def test_who_shares_a_place_is_the_key_s_choice() -> None:
    hosts = [str(IPv4Address(number)) for number in range(2000)]
    places = [[HostLimit(1, bytes([key]) * 16)._place(host) for host in hosts] for key in range(2)]
    assert places[0] != places[1]
    for found in places:
        # 2,000 of 4,096 places: 1,582 differ on average, with a deviation of 13.
        assert len(set(found)) > 1500
        assert min(found) >= 0
        assert max(found) < PLACES


@given(st.integers(0, 2**128 - 1), st.integers(0, 2**128 - 1), st.integers(0, 128))
@example(0, 1, 0)
@example(0x20010DB8 << 96, 0x20010DB8 << 96 | 1, 64)
@example(0x20010DB8_00000000_00000001 << 32, 0x20010DB8_00000001_00000000 << 32, 0)
def test_of_ipv6_a_host_is_64_bits(one: int, other: int, equal: int) -> None:
    """However an address is abridged; `equal`: how many of the first bits are the same."""
    other = one >> 128 - equal << 128 - equal | other & (1 << 128 - equal) - 1
    addresses = [IPv6Address(number) for number in (one, other)]
    if any(address.ipv4_mapped for address in addresses):
        return
    hosts = [host_of(str(address)) for address in addresses]
    same = addresses[1] in IPv6Network((addresses[0], 64), strict=False)
    assert (hosts[0] == hosts[1]) == same
    assert host_of(addresses[0].exploded) == host_of(addresses[0].exploded.rpartition(":")[0] + ":1")


@pytest.mark.parametrize(
    ("address", "host"),
    [
        ("10.1.2.3", "10.1.2.3"),
        ("::ffff:10.1.2.3", "10.1.2.3"),
        ("::ffff:a01:203", "10.1.2.3"),
        ("fe80::1%eth0.100", "fe80::"),
        ("::1", "::"),
        ("::", "::"),
        ("1:2:3:4:5:6:7:8", "1:2:3:4::"),
        ("1::", "1::"),
        ("1:2:3:4:5::", "1:2:3:4::"),
        ("1::5:6:7:8:9", "1:0:0:5::"),
        ("64:ff9b::10.1.2.3", "64:ff9b::"),
        ("client", "client"),
    ],
)
def test_forms_of_addresses(address: str, host: str) -> None:
    assert host_of(address) == host
