"""The states of a connection and the one table that moves between them.

Laws:
1. Every change of state goes through `transition`; an input without an entry in the table is a fault of ours.
2. The names are those of RFC 9293 section 3.3.2. Two states are added for the end without handshake that RFC 9000
   section 10.2 describes: ABORTED (its "closing": CLOSE was sent) and DRAINING (CLOSE or RESET was received).
3. LISTEN belongs to the endpoint: a connection begins when a SYN is sent or accepted.
4. The same table drives the code, the tests and the diagram in docs/DESIGN.md (`python -m tests.statedoc`).

An operation costs two dictionary look-ups.
"""

from __future__ import annotations

from enum import Enum
from typing import Final

__all__ = ["CLOSED_STATES", "OPEN_STATES", "TRANSITIONS", "WRITABLE_STATES", "Input", "State", "transition"]


class State(Enum):
    """Connection states; RFC 9293 section 3.3.2 unless said otherwise."""

    CLOSED = "CLOSED"
    SYN_SENT = "SYN-SENT"
    SYN_RECEIVED = "SYN-RECEIVED"
    ESTABLISHED = "ESTABLISHED"
    FIN_WAIT_1 = "FIN-WAIT-1"
    FIN_WAIT_2 = "FIN-WAIT-2"
    CLOSE_WAIT = "CLOSE-WAIT"
    CLOSING = "CLOSING"
    LAST_ACK = "LAST-ACK"
    TIME_WAIT = "TIME-WAIT"
    ABORTED = "ABORTED"
    DRAINING = "DRAINING"

    # Enum's own is a Python function, and which set a state is in is asked for every train.
    __hash__ = object.__hash__


class Input(Enum):
    """What can move a connection."""

    CONNECT = "connect()"
    SYN = "SYN received"
    SYN_ACK = "SYN_ACK received"
    FIRST_DATA = "first DATA received"
    FIN_SENT = "close()"
    PEER_FINISHED = "FIN and all before it received"
    FIN_ACKNOWLEDGED = "FIN and all before it acknowledged"
    ABORT = "abort()"
    CLOSE_RECEIVED = "CLOSE or RESET received"
    TIMEOUT = "timeout"

    __hash__ = object.__hash__


_ENDINGS: Final = {
    Input.ABORT: State.ABORTED,
    Input.CLOSE_RECEIVED: State.DRAINING,
    Input.TIMEOUT: State.CLOSED,
}

TRANSITIONS: Final[dict[State, dict[Input, State]]] = {
    State.CLOSED: {Input.CONNECT: State.SYN_SENT, Input.SYN: State.SYN_RECEIVED},
    State.SYN_SENT: {
        Input.SYN_ACK: State.ESTABLISHED,
        Input.ABORT: State.CLOSED,
        Input.FIN_SENT: State.CLOSED,
        Input.CLOSE_RECEIVED: State.CLOSED,
        Input.TIMEOUT: State.CLOSED,
    },
    State.SYN_RECEIVED: {Input.FIRST_DATA: State.ESTABLISHED, **_ENDINGS},
    State.ESTABLISHED: {Input.FIN_SENT: State.FIN_WAIT_1, Input.PEER_FINISHED: State.CLOSE_WAIT, **_ENDINGS},
    State.FIN_WAIT_1: {Input.FIN_ACKNOWLEDGED: State.FIN_WAIT_2, Input.PEER_FINISHED: State.CLOSING, **_ENDINGS},
    State.FIN_WAIT_2: {Input.PEER_FINISHED: State.TIME_WAIT, **_ENDINGS},
    State.CLOSE_WAIT: {Input.FIN_SENT: State.LAST_ACK, **_ENDINGS},
    State.CLOSING: {Input.FIN_ACKNOWLEDGED: State.TIME_WAIT, **_ENDINGS},
    State.LAST_ACK: {Input.FIN_ACKNOWLEDGED: State.CLOSED, **_ENDINGS},
    State.TIME_WAIT: {Input.TIMEOUT: State.CLOSED},
    State.ABORTED: {Input.TIMEOUT: State.CLOSED},
    State.DRAINING: {Input.TIMEOUT: State.CLOSED},
}

# States in which packets flow both ways.
OPEN_STATES: Final = frozenset(
    {State.ESTABLISHED, State.FIN_WAIT_1, State.FIN_WAIT_2, State.CLOSE_WAIT, State.CLOSING, State.LAST_ACK}
)
# States in which the application may write; a client's first bytes may wait for the first DATA.
WRITABLE_STATES: Final = frozenset({State.SYN_SENT, State.ESTABLISHED, State.CLOSE_WAIT})
# States in which nothing but a remembered reply goes out; the endpoint holds that and drops the connection.
CLOSED_STATES: Final = frozenset({State.CLOSED, State.TIME_WAIT, State.ABORTED, State.DRAINING})


def transition(state: State, cause: Input) -> State:
    """The state that follows. AssertionError when the table has no such step: a fault of ours, not the peer's."""
    following = TRANSITIONS[state].get(cause)
    assert following is not None, f"no transition from {state.value} on {cause.value}"
    return following
