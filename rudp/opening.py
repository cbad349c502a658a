"""The opening half of a connection: what SYN, SYN_ACK, RETRY, VERSION and the first DATA do to its parts.

Knows: the handshake while it lasts, and which part takes which of the peer's parameters. Refuses to know: the
connection's state (it reports, the connection moves), how a try is timed (handshake), a server's tries (`half_open`:
there is no connection before the first DATA, but to be refused).

Every operation is O(1). Sources: RFC 9293 section 3.5, RFC 9000 section 8.1.
"""

from __future__ import annotations

from typing import Final

from rudp import wire
from rudp.config import Config
from rudp.handshake import ClientHandshake, ServerHandshake, connect_timeout, refused, version_mismatch
from rudp.liveness import Liveness
from rudp.packetizer import Packetizer
from rudp.path import Paths
from rudp.recovery import Recovery
from rudp.streams import Streams
from rudp.train import Address
from rudp.wire import VERSION_1, Parameters, Refusal, Retry, Syn, SynAck, Version

__all__ = ["Opening"]

# Seconds a peer may hold acknowledgements back (RFC 9000 section 18.2: below 2^14 ms). Of one that states more this is
# believed: probe timeouts, and all that lasts several of them, would have no bound.
MAX_ACK_DELAY: Final = 16.0


class Opening:
    """How one connection opens, on either side; `handshake` is None once it is open."""

    __slots__ = (
        "_config",
        "_liveness",
        "_packetizer",
        "_paths",
        "_recovery",
        "_streams",
        "application_protocol",
        "handshake",
        "is_client",
        "peer_reset_token",
    )

    def __init__(
        self,
        config: Config,
        handshake: ClientHandshake | ServerHandshake,
        *,
        paths: Paths,
        packetizer: Packetizer,
        streams: Streams,
        recovery: Recovery,
        liveness: Liveness,
    ) -> None:
        self._config = config
        self._paths = paths
        self._packetizer = packetizer
        self._streams = streams
        self._recovery = recovery
        self._liveness = liveness
        self.handshake: ClientHandshake | ServerHandshake | None = handshake
        self.is_client = isinstance(handshake, ClientHandshake)
        self.application_protocol: str | None = None
        self.peer_reset_token: bytes | None = None

    # -- server -------------------------------------------------------------------------------------------------

    def accept(self, packet: Syn, protocol: str | None, now: float) -> None:
        """Take what the client states, and the application protocol chosen for it."""
        self._take_parameters(packet.parameters, packet.source_id, now)
        self.application_protocol = protocol

    def on_first_data(self, now: float) -> None:
        """Accepted DATA with the server's id acknowledges SYN_ACK and proves the client's address."""
        assert isinstance(self.handshake, ServerHandshake)
        self._paths.active.validated = True
        self._finish(self.handshake.rtt_sample(now), now)

    def refusal(self, refusal: Refusal) -> bytes:
        """The SYN_ACK that tells a client, half open, that there will be no connection."""
        assert isinstance(self.handshake, ServerHandshake)
        return wire.encode_opening(self.handshake.refusing(refusal))

    # -- client -------------------------------------------------------------------------------------------------

    def on_retry(self, packet: Retry, now: float) -> None:
        """The server wants a cookie."""
        if isinstance(self.handshake, ClientHandshake):
            self.handshake.on_retry(packet, now)

    def version_error(self, packet: Version) -> Exception | None:
        """The error with which the opening ends because of this VERSION; None when it says nothing to us."""
        client = self.handshake
        if not isinstance(client, ClientHandshake) or packet.original_destination_id != client.destination_id:
            return None
        if VERSION_1 in packet.versions:
            return None
        return version_mismatch(packet, self._paths.active.remote)

    def on_syn_ack(self, packet: SynAck, local: Address | None, now: float) -> Exception | None:
        """The server answered the client's first time: take its parameters, or the error that ends the opening."""
        assert isinstance(self.handshake, ClientHandshake)
        problem = refused(packet.parameters, self._config, self._paths.active.remote)
        if problem is not None:
            return problem
        self._take_parameters(packet.parameters, packet.source_id, now)
        self.application_protocol = next(iter(packet.parameters.application_protocols), None)
        self._paths.active.local = local or self._paths.active.local
        self._liveness.on_received(now)
        self._finish(self.handshake.rtt_sample(packet, now), now)
        return None

    # -- either -------------------------------------------------------------------------------------------------

    def _take_parameters(self, parameters: Parameters, peer_id: int, now: float) -> None:
        self._packetizer.destination_id = peer_id
        self._streams.on_peer_parameters(parameters)
        self._recovery.rtt.max_ack_delay = min(parameters.max_ack_delay, MAX_ACK_DELAY)
        self._liveness.on_peer_idle_timeout(parameters.idle_timeout)
        self.peer_reset_token = parameters.reset_token
        size = self._paths.mtu.open(self._paths.active.remote, parameters.max_datagram_size)
        if size != self._packetizer.datagram_size:
            self._packetizer.resize(size)
            self._recovery.set_max_datagram_size(size, now)

    def _finish(self, rtt_sample: float | None, now: float) -> None:
        if rtt_sample is not None:
            self._recovery.rtt.update(rtt_sample, 0.0, now)
        self.handshake = None

    def next_datagram(self, now: float) -> bytes | None:
        """Client: the SYN to send now, if one is due."""
        assert isinstance(self.handshake, ClientHandshake)
        packet = self.handshake.next_packet(now)
        return None if packet is None else wire.encode_opening(packet)

    def failure(self, now: float) -> Exception | None:
        """Client: the error with which the opening ends now for want of an answer."""
        handshake = self.handshake
        assert handshake is not None
        if now < handshake.started + self._config.connect_timeout:
            return None
        return connect_timeout(self._paths.active.remote, handshake.tries, now - handshake.started)

    def next_timeout(self) -> float | None:
        """Client: when the next try is due, or the end of trying."""
        assert self.handshake is not None
        return min(self.handshake.started + self._config.connect_timeout, self.handshake.due)
