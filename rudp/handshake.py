"""The three-way opening: SYN, SYN_ACK, first DATA, on either side.

Knows: the tries, when the next is due, the cookie, the parameters both sides state and whether they fit together.
Refuses to know: what the connection does with the outcome; sockets, states, packets with numbers.

    ClientHandshake.next_packet(now) -> Syn | None     on_retry(packet)     on_syn_ack(packet, now) -> RTT sample | None
    ServerHandshake.next_packet(now) -> SynAck | None  on_syn(packet)     rtt_sample(now)    postpone(now)
    local_parameters(config, ...) -> Parameters        refusal(config, parameters) -> Refusal | None

Sources: RFC 9293 section 3.5; RFC 6298 sections 2 (backoff) and 3 (Karn's rule, for the server's RTT sample).
Every operation is O(1).
"""

from __future__ import annotations

from typing import Final

from rudp import protection
from rudp.config import Config
from rudp.errors import ConnectionRefused, ConnectTimeout, ErrorCode, VersionMismatch
from rudp.flow_control import connection_window
from rudp.train import Address
from rudp.wire import MAX_REASON_SIZE, VERSION_1, Parameters, Refusal, Retry, Syn, SynAck, UnreadSyn, Version

__all__ = [
    "ClientHandshake",
    "ServerHandshake",
    "chosen_protocol",
    "connect_timeout",
    "local_parameters",
    "refusal",
    "refused",
    "version_mismatch",
]

# Seconds until the second try, doubled for each further one up to the cap. RFC 6298 section 2.1 says 1 s; a SYN costs
# 1,200 bytes, and at 30 % loss each way (half of the tries lost) eight tries within the default `connect_timeout`
# of 10 s fail once in 218 openings, four tries once in 15.
FIRST_RETRY: Final = 0.25
LONGEST_RETRY: Final = 2.0
# Seconds between two answers to SYNs of one client: less than between any two of its tries. To ask again under another
# counter costs a peer far less than the answer.
LEAST_PAUSE: Final = 0.1
# try_counter has 8 bits; later tries share the last value and give no RTT sample.
LAST_TRY: Final = 255


def local_parameters(config: Config, reset_token: bytes | None, protocols: tuple[str, ...]) -> Parameters:
    """What this side states in its SYN or SYN_ACK."""
    return Parameters(
        initial_max_data=connection_window(config.initial_receive_window, config.receive_window),
        initial_max_stream_data=config.initial_receive_window,
        initial_max_streams_bidi=config.max_streams_bidi,
        initial_max_streams_uni=config.max_streams_uni,
        max_ack_delay=config.max_ack_delay,
        idle_timeout=config.idle_timeout,
        reset_token=reset_token,
        protection=protection.by_name(config.protection).id,
        application_protocols=protocols,
    )


def chosen_protocol(config: Config, offered: tuple[str, ...]) -> str | None:
    """The first protocol of ours that the client offered; None when there is none (RFC 7301 section 3.2)."""
    return next((name for name in config.application_protocols if name in offered), None)


def refusal(config: Config, client: Parameters) -> Refusal | None:
    """Why a server of this configuration can't talk to that client, or None."""
    mine = protection.by_name(config.protection)
    if client.protection != mine.id:
        return Refusal(
            ErrorCode.PROTECTION_MISMATCH, f"the server's protection is {mine.name!r}; set the same on both sides"
        )
    offered, accepted = client.application_protocols, config.application_protocols
    if offered and accepted and chosen_protocol(config, offered) is None:
        text = f"no common application protocol: offered {', '.join(offered)}; accepted {', '.join(accepted)}"
        # A SYN has room for more names than a reason.
        text = text.encode()[:MAX_REASON_SIZE].decode(errors="ignore")
        return Refusal(ErrorCode.NO_APPLICATION_PROTOCOL, text)
    return None


def refused(server: Parameters, config: Config, remote: Address) -> Exception | None:
    """The error with which a client takes a SYN_ACK that declines, or whose parameters don't fit; else None."""
    if server.refused is not None:
        code, reason = server.refused
        return ConnectionRefused(f"{_shown(remote)} refused: {reason or 'no reason given'} (code {code})")
    if server.protection != protection.by_name(config.protection).id:
        return ConnectionRefused(f"{_shown(remote)} has another packet protection; set the same on both sides")
    for name in server.application_protocols:
        if name not in config.application_protocols:
            # RFC 7301 section 3.2: what was not offered can't be chosen.
            return ConnectionRefused(f"{_shown(remote)} speaks application protocol {name!r}, which was not offered")
    return None


def version_mismatch(packet: Version, remote: Address) -> Exception:
    """The error for a VERSION packet that doesn't offer ours."""
    offered = ", ".join(str(version) for version in packet.versions) or "none"
    return VersionMismatch(f"{_shown(remote)} speaks versions {offered}, this side {VERSION_1}; update the older side")


def connect_timeout(remote: Address, tries: int, seconds: float) -> Exception:
    """The error for an opening that got no answer."""
    return ConnectTimeout(
        f"no answer from {_shown(remote)} to {tries} tries in {seconds:.1f} s: host down, wrong port, or UDP blocked",
        tries=tries,
        seconds=seconds,
    )


def _shown(address: Address) -> str:
    return f"[{address[0]}]:{address[1]}" if ":" in address[0] else f"{address[0]}:{address[1]}"


class ClientHandshake:
    """The client's side until SYN_ACK."""

    __slots__ = ("_cookie", "_parameters", "_sent_at", "destination_id", "due", "source_id", "started", "tries")

    def __init__(self, destination_id: int, source_id: int, parameters: Parameters, now: float) -> None:
        self.destination_id = destination_id
        self.source_id = source_id
        self._parameters = parameters
        self._cookie = b""
        self._sent_at: dict[int, float] = {}
        self.tries = 0
        self.started = now
        self.due = now

    def next_packet(self, now: float) -> Syn | None:
        """The SYN to send now, if one is due."""
        if now < self.due:
            return None
        counter = min(self.tries, LAST_TRY)
        self._sent_at[counter] = now
        self.due = now + min(LONGEST_RETRY, FIRST_RETRY * 2.0 ** min(self.tries, 16))
        self.tries += 1
        return Syn(self.destination_id, self.source_id, counter, self._parameters, self._cookie)

    def on_retry(self, packet: Retry, now: float) -> None:
        """Take the cookie, which the next SYN carries. After the first RETRY that goes out at once.

        A later RETRY says that the cookie is good no more: it expired, or was for an address or a server that is gone.
        That SYN waits for its time, so that no flood of RETRYs brings forth any.
        """
        if packet.original_destination_id != self.destination_id:
            return
        if not self._cookie:
            self.due = now
        self._cookie = packet.cookie

    def rtt_sample(self, packet: SynAck, now: float) -> float | None:
        """Time since the SYN that this SYN_ACK echoes was sent; None when that is not certain."""
        sent_at = self._sent_at.get(packet.try_counter)
        if sent_at is None or packet.try_counter == LAST_TRY:
            return None
        return now - sent_at


class ServerHandshake:
    """The server's side from SYN until the client's first DATA."""

    __slots__ = (
        "_answered",
        "_asked_at",
        "_client_id",
        "_parameters",
        "_sent_at",
        "_server_id",
        "_try",
        "due",
        "started",
        "tries",
    )

    def __init__(self, syn: Syn, server_id: int, parameters: Parameters, now: float) -> None:
        self._client_id = syn.source_id
        self._server_id = server_id
        self._parameters = parameters
        self._try = syn.try_counter
        self._answered = False
        self._asked_at = self._sent_at = now
        self.tries = 0
        self.started = now
        self.due = now

    def on_syn(self, packet: Syn | UnreadSyn, now: float) -> None:
        """A further SYN of the same client: answer it, echoing its counter."""
        if packet.try_counter != self._try and now - self._asked_at >= LEAST_PAUSE:
            self._asked_at = now
            self._try = packet.try_counter
            self._answered = False
            self.due = now

    def next_packet(self, now: float) -> SynAck | None:
        """The SYN_ACK to send now, if one is due."""
        if now < self.due:
            return None
        self.due = now + min(LONGEST_RETRY, FIRST_RETRY * 2.0 ** min(self.tries, 16))
        self.tries += 1
        self._sent_at = now
        # Only the first answer to a SYN tells the round trip; a repetition waited for its timer.
        counter, self._answered = LAST_TRY if self._answered else self._try, True
        return SynAck(self._client_id, self._server_id, counter, self._parameters)

    def postpone(self, now: float) -> None:
        """What is due must not go to an address that has sent so little; a further SYN is answered at once."""
        self.due = now + LONGEST_RETRY

    def refusing(self, refusal: Refusal) -> SynAck:
        """The SYN_ACK that ends the opening from this side."""
        parameters = Parameters(protection=self._parameters.protection, refused=refusal)
        return SynAck(self._client_id, self._server_id, self._try, parameters)

    def rtt_sample(self, now: float) -> float | None:
        """Time since SYN_ACK; None after a repetition, when it is unknown which one was answered."""
        return now - self._sent_at if self.tries == 1 else None
