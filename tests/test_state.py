"""The state table: every entry is reached by real packets, nothing else is allowed, the diagram is up to date."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from rudp import wire
from rudp.config import Config
from rudp.state import CLOSED_STATES, OPEN_STATES, TRANSITIONS, WRITABLE_STATES, Input, State, transition
from tests.pair import Pair
from tests.statedoc import DOCUMENT, rewritten

Step = tuple[State, Input]


def opening(config: Config | None = None) -> Pair:
    """The client in SYN-SENT."""
    return Pair(opened=False, config=config)


def syn_received(config: Config | None = None) -> Pair:
    pair = opening(config)
    pair.drop(lambda p: p.kind == "SYN_ACK")
    pair.run(0.06)
    return pair


def established(config: Config | None = None) -> Pair:
    return Pair(config=config)


def fin_wait_1(config: Config | None = None) -> Pair:
    pair = established(config)
    pair.drop(lambda p: p.sender == "c", times=1)
    pair.client.close()
    pair.flush()
    return pair


def fin_wait_2(config: Config | None = None) -> Pair:
    pair = established(config)
    pair.client.close()
    pair.until(lambda: pair.client.state is State.FIN_WAIT_2)
    return pair


def close_wait(config: Config | None = None) -> Pair:
    pair = established(config)
    pair.server.close()
    pair.until(lambda: pair.client.state is State.CLOSE_WAIT)
    return pair


def last_ack(config: Config | None = None) -> Pair:
    pair = close_wait(config)
    pair.drop(lambda p: p.sender == "c", times=1)
    pair.client.close()
    pair.flush()
    return pair


def closing(config: Config | None = None) -> Pair:
    pair = established(config)
    pair.drop(lambda p: p.has(wire.Fin) and p.sender == "c", times=1)
    pair.client.close()
    pair.server.close()
    pair.until(lambda: pair.client.state is State.CLOSING)
    return pair


ALL_OPEN: dict[State, Callable[[Config | None], Pair]] = {
    State.ESTABLISHED: established,
    State.FIN_WAIT_1: fin_wait_1,
    State.FIN_WAIT_2: fin_wait_2,
    State.CLOSE_WAIT: close_wait,
    State.CLOSING: closing,
    State.LAST_ACK: last_ack,
}
# The endpoint forgets a connection in these; its memory's end, not the connection, is what the table calls timeout.
FORGOTTEN = {(state, Input.TIMEOUT) for state in CLOSED_STATES - {State.CLOSED}}


@pytest.fixture
def steps(monkeypatch: pytest.MonkeyPatch) -> set[Step]:
    """Entries of the table that were used, on either side."""
    used: set[Step] = set()

    def noted(state: State, cause: Input) -> State:
        used.add((state, cause))
        return transition(state, cause)

    monkeypatch.setattr("rudp.lifecycle.transition", noted)
    return used


def check_orderly(steps: set[Step]) -> None:
    pair = established()
    pair.client.close()
    server = pair.server
    pair.until(lambda: server.state is State.CLOSE_WAIT)
    server.close()
    pair.until(pair.ended)
    pair = established()
    pair.client.close()
    pair.server.close()
    pair.until(pair.ended)
    opening().client.close()


def check_abort(steps: set[Step]) -> None:
    opening().client.abort()
    syn_received().endpoints["s"].refuse_half_open()
    for state, reach in ALL_OPEN.items():
        pair = reach(None)
        assert pair.client.state is state
        pair.client.abort()


def check_close_received(steps: set[Step]) -> None:
    Pair(opened=False, server=Config(protection="none")).run(1)
    pair = opening()
    pair.drop(lambda p: p.sender == "c" and p.kind == "DATA" and not p.has(wire.Close))
    pair.until(lambda: pair.client.is_open)
    pair.client.abort()
    pair.run(1)
    for state, reach in ALL_OPEN.items():
        pair = reach(None)
        pair.rules.clear()
        pair.server.abort(5)
        assert pair.client.state is state
        pair.run(5)


def check_timeout(steps: set[Step]) -> None:
    config = Config(connect_timeout=1.0, idle_timeout=2.0, give_up_timeout=5.0)
    pair = opening(config)
    pair.drop(lambda p: p.sender == "s")
    pair.run(10)
    for state, reach in ALL_OPEN.items():
        pair = reach(config)
        assert pair.client.state is state
        pair.drop(lambda _: True)
        pair.run(20)


def test_every_entry_of_the_table_is_reached(steps: set[Step]) -> None:
    for check in (check_orderly, check_abort, check_close_received, check_timeout):
        check(steps)
    entries = {(state, cause) for state, row in TRANSITIONS.items() for cause in row}
    missing = entries - steps - FORGOTTEN
    # SYN_RECEIVED learns of a CLOSE as ESTABLISHED: any DATA with the server's id is the first DATA. Before that there
    # is no connection, and what the endpoint forgets in time never was one (`half_open`).
    missing -= {(State.SYN_RECEIVED, Input.CLOSE_RECEIVED), (State.SYN_RECEIVED, Input.TIMEOUT)}
    assert not missing
    assert steps <= entries


def test_forgotten_connections_stay_as_they_are() -> None:
    """TIME-WAIT and its kin end by the endpoint's memory: the object a program still holds changes no more."""
    pair = established()
    pair.client.close()
    pair.server.close()
    pair.until(pair.ended)
    pair.run(1000)
    assert pair.client.state is State.TIME_WAIT
    assert not pair.endpoints["c"].stats().lingering


@pytest.mark.parametrize("state", State)
@pytest.mark.parametrize("cause", Input)
def test_what_is_not_in_the_table_is_a_fault(state: State, cause: Input) -> None:
    if cause in TRANSITIONS[state]:
        assert transition(state, cause) is TRANSITIONS[state][cause]
    else:
        with pytest.raises(AssertionError, match=r"no transition from"):
            transition(state, cause)


def test_the_table_is_whole() -> None:
    assert set(TRANSITIONS) == set(State)
    assert not OPEN_STATES & CLOSED_STATES
    assert set(State) - OPEN_STATES - CLOSED_STATES == {State.SYN_SENT, State.SYN_RECEIVED}
    for state, row in TRANSITIONS.items():
        if state not in CLOSED_STATES:
            for cause in (Input.ABORT, Input.CLOSE_RECEIVED, Input.TIMEOUT):
                assert row[cause] in CLOSED_STATES, "every state can be left at once"
    reached = {State.CLOSED}
    while True:
        more = {target for state in reached for target in TRANSITIONS[state].values()} | reached
        if more == reached:
            break
        reached = more
    assert reached == set(State)


def test_an_application_may_write_until_it_has_closed() -> None:
    assert {state for state, row in TRANSITIONS.items() if Input.FIN_SENT in row} == WRITABLE_STATES


def test_the_diagram_is_up_to_date() -> None:
    text = DOCUMENT.read_text(encoding="utf-8")
    assert rewritten(text) == text, "run `python -m tests.statedoc`"
