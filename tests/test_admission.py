"""Cookies, tokens and the rate limit, by their laws."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from rudp import wire
from rudp.admission import COOKIE_LIFETIME, Secrets
from rudp.rate_limit import RateLimit
from tests.pair import CLIENT

KEY = b"k" * 16
SYN = wire.UnreadSyn(1, 2, 0, wire.encode_parameters(wire.Parameters(protection=1)), b"")


@given(st.floats(0, 1e9), st.floats(0, COOKIE_LIFETIME - 0.01))
def test_a_cookie_is_good_for_a_while(now: float, age: float) -> None:
    secrets = Secrets(KEY)
    syn = SYN._replace(cookie=secrets.cookie(SYN, CLIENT, now))
    assert secrets.accepts(syn, CLIENT, now + age)
    assert secrets.accepts(syn._replace(try_counter=9), CLIENT, now + age), "a later try may carry it"
    assert not secrets.accepts(syn, CLIENT, now + COOKIE_LIFETIME + 0.1)
    assert not secrets.accepts(syn, CLIENT, now - 0.1)


@given(st.integers(0, 23), st.integers(1, 255))
def test_no_bit_of_a_cookie_may_change(at: int, change: int) -> None:
    secrets = Secrets(KEY)
    cookie = bytearray(secrets.cookie(SYN, CLIENT, 5.0))
    cookie[at] ^= change
    assert not secrets.accepts(SYN._replace(cookie=bytes(cookie)), CLIENT, 5.0)


@given(st.binary(max_size=64))
def test_other_cookies_are_refused(cookie: bytes) -> None:
    assert not Secrets(KEY).accepts(SYN._replace(cookie=cookie), CLIENT, 5.0)


def test_keys_make_the_difference() -> None:
    one, same, other = Secrets(KEY), Secrets(KEY), Secrets(b"K" * 16)
    syn = SYN._replace(cookie=one.cookie(SYN, CLIENT, 5.0))
    assert same.accepts(syn, CLIENT, 5.0)
    assert not other.accepts(syn, CLIENT, 5.0)
    assert one.reset_token(7) == same.reset_token(7)
    assert len({one.reset_token(7), one.reset_token(8), other.reset_token(7), other.fingerprint(7, b"")}) == 4
    assert one.fingerprint(7, bytes(16)) == same.fingerprint(7, bytes(16)) != one.fingerprint(8, bytes(16))


@given(st.lists(st.floats(0, 0.1), max_size=300))
def test_a_rate_limit_holds_over_any_interval(gaps: list[float]) -> None:
    limit = RateLimit(100.0, 10.0)
    now = 0.0
    allowed: list[float] = []
    for gap in gaps:
        now += gap
        if limit.allows(now):
            allowed.append(now)
    for index, start in enumerate(allowed):
        for count, stop in enumerate(allowed[index:], 1):
            assert count <= 10 + (stop - start) * 100 + 1e-6
