"""Memory is bounded by what was advertised. `python -m bench.memory` measures more, and at full size."""

from __future__ import annotations

from bench.memory import IDLE_BYTES, Flood, idle, stopped_reader
from rudp.config import Config


def test_a_stopped_reader_stops_the_writer_within_the_advertised_window() -> None:
    figures = stopped_reader()
    assert figures["bounded"], figures
    assert figures["received_unread"] == figures["advertised_window"]
    assert figures["state"] == "ESTABLISHED"
    assert abs(figures["memory_after_60_s"] - figures["memory_after_10_s"]) < 10_000


def test_an_idle_connection_is_small_and_does_not_wake_up() -> None:
    figures = idle(100)
    assert figures["client_bytes"] < IDLE_BYTES
    assert figures["server_bytes"] < IDLE_BYTES
    assert figures["next_wake_up_in"] > 20.0


def test_junk_leaves_nothing_but_a_bounded_number_of_half_open_connections() -> None:
    flood = Flood()
    flood.run(30_000)
    figures = flood.server.stats()
    assert figures.connections == figures.half_open <= Config().max_half_open
    assert flood.answered_bytes < 3 * flood.sent_bytes
    flood.now += Config().connect_timeout + 1.0
    flood.answer()
    assert flood.server.stats().connections == 0
