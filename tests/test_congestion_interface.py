"""Laws of every congestion controller, and the names they go by."""

from __future__ import annotations

import random
import sys
from enum import Enum
from math import inf, nan
from typing import Any

import pytest

from rudp.config import Config
from rudp.congestion import AckSample, CongestionController, LossEvent, by_name, initial_window, usable_window
from rudp.congestion.bbr import Bbr
from rudp.congestion.cubic import Cubic
from rudp.congestion.model import Model
from rudp.congestion.new_reno import NewReno
from rudp.errors import ConfigurationError
from tests.bottleneck import PACKET, Path, World
from tests.pair import Pair

CONTROLLERS = [Bbr, Cubic, Model, NewReno]


def sample(now: float, acked: int, delivered: int, **fields: float) -> AckSample:
    base = AckSample(
        now=now,
        acked_bytes=acked,
        lost_bytes=0,
        bytes_in_flight=0,
        prior_in_flight=acked,
        oldest_time_sent=now - 0.1,
        newest_time_sent=now - 0.1,
        latest_rtt=0.1,
        smoothed_rtt=0.1,
        min_rtt=0.1,
        delivered=delivered,
        prior_delivered=delivered - acked,
        delivery_rate=acked / 0.1,
        is_app_limited=False,
    )
    return base._replace(**fields)  # type: ignore[arg-type]


def test_names_and_classes_are_accepted() -> None:
    assert by_name("model") is Model
    assert by_name("new_reno") is NewReno
    assert by_name("cubic") is Cubic
    assert by_name(NewReno) is NewReno


def test_an_unknown_name_says_which_are_known() -> None:
    with pytest.raises(ValueError, match=r"'cubix'.*bbr, cubic, model, new_reno"):
        by_name("cubix")
    strangers: list[Any] = [7, int, object()]
    for stranger in strangers:
        with pytest.raises(ConfigurationError, match="a name or a CongestionController class"):
            by_name(stranger)


def test_a_class_that_lacks_methods_says_which() -> None:
    class Half(CongestionController):
        def on_ack(self, sample: AckSample) -> None:
            """Take nothing from it."""

    with pytest.raises(ConfigurationError, match="Half: a controller needs on_loss, on_persistent_congestion"):
        by_name(Half)


class Mine(CongestionController):
    """As much as is asked of one's own: three methods."""

    answer: Any = 20_000
    pace: float | None = None

    def on_ack(self, sample: AckSample) -> None:
        self.congestion_window, self.pacing_rate = self.answer, self.pace

    def on_loss(self, event: LossEvent) -> None:
        """Take nothing from it."""

    def on_persistent_congestion(self, now: float) -> None:
        """Take nothing from it."""


def pair_of(controller: type[CongestionController]) -> Pair:
    """A client that has written 50 kB, and sends them by that controller."""
    pair = Pair(delay=0.01, client=Config(congestion=controller, path_mtu_discovery=False))
    pair.client.send(0, bytes(50_000))
    return pair


def test_a_controller_goes_by_the_name_of_its_class_unless_it_has_one() -> None:
    class Named(Mine):
        name = "named"

    pair = pair_of(Mine)
    assert pair.client.stats(pair.now).congestion == "Mine"
    assert (Mine.name, Named.name) == ("Mine", "named")


@pytest.mark.parametrize(("answer", "window"), [(0, 2 * 1_200), (-5, 2 * 1_200), (30_000.75, 30_000), (True, 2_400)])
def test_a_window_is_whole_bytes_and_the_smallest_at_least(answer: object, window: int) -> None:
    pair = pair_of(type("Own", (Mine,), {"answer": answer}))
    pair.run(60)
    assert pair.client.stats(pair.now).congestion_window == window
    assert pair.received["s", 0] == bytes(50_000)


@pytest.mark.parametrize("controller_class", CONTROLLERS)
def test_what_persistent_congestion_leaves_is_left(controller_class: type[CongestionController]) -> None:
    """Though a controller's own smallest window may be more than RFC 9002's."""
    controller = controller_class(PACKET)
    controller.on_persistent_congestion(1.0)
    assert usable_window(controller) == controller.congestion_window == 2 * PACKET


@pytest.mark.parametrize("answer", [nan, inf, "much", None])
def test_a_window_that_is_no_number_of_bytes_names_the_controller(answer: object) -> None:
    with pytest.raises(ConfigurationError, match="congestion=Own: its congestion_window is"):
        pair_of(type("Own", (Mine,), {"answer": answer}))


@pytest.mark.parametrize("rate", [nan, -1.0])
def test_a_rate_is_none_or_bytes_a_second(rate: float) -> None:
    with pytest.raises(ConfigurationError, match="pacing_rate of"):
        pair_of(type("Own", (Mine,), {"pace": rate}))


@pytest.mark.parametrize(
    ("max_datagram_size", "expected"),
    [(1200, 12_000), (1472, 14_720), (1500, 14_720), (9000, 18_000)],
)
def test_initial_window(max_datagram_size: int, expected: int) -> None:
    """RFC 9002 section 7.2: ten packets, at most 14,720 bytes or two packets."""
    assert initial_window(max_datagram_size) == expected
    for controller in CONTROLLERS:
        assert controller(max_datagram_size).congestion_window == expected


@pytest.mark.parametrize("controller_class", CONTROLLERS)
def test_the_window_never_falls_below_two_packets(controller_class: type[CongestionController]) -> None:
    controller = controller_class(PACKET)
    delivered, now = 0, 0.0
    for _ in range(50):
        now += 0.1
        controller.on_sent(PACKET, 0, now - 0.1)
        controller.on_loss(LossEvent(now, 20 * PACKET, now - 0.05, 0, 20 * PACKET))
        controller.on_persistent_congestion(now)
        assert controller.congestion_window >= 2 * PACKET
        delivered += PACKET
        controller.on_ack(sample(now, PACKET, delivered))
        assert controller.congestion_window >= 2 * PACKET
        assert controller.pacing_rate is not None
        assert controller.pacing_rate > 0.0


@pytest.mark.parametrize("controller_class", CONTROLLERS)
def test_persistent_congestion_falls_to_the_minimum(controller_class: type[CongestionController]) -> None:
    path = Path(12.5e6, 0.05, 12.5e6 * 0.05)
    world = World(path)
    flow = world.add(controller_class(PACKET), seed=1)
    world.run(3.0)
    assert flow.controller.congestion_window > 100 * PACKET
    flow.controller.on_persistent_congestion(world.now)
    assert flow.controller.congestion_window == 2 * PACKET


@pytest.mark.parametrize("controller_class", CONTROLLERS)
def test_same_seed_same_life(controller_class: type[CongestionController]) -> None:
    lives = []
    for _ in range(2):
        world = World(Path(1.25e6, 0.02, 50_000, loss=0.03))
        flow = world.add(controller_class(PACKET, random.Random(4)), seed=5)
        world.run(5.0)
        lives.append((flow.log, flow.controller.congestion_window, flow.controller.pacing_rate))
    assert lives[0] == lives[1]


@pytest.mark.parametrize("controller_class", CONTROLLERS)
def test_an_idle_controller_is_small(controller_class: type[CongestionController]) -> None:
    world = World(Path(1.25e6, 0.02, 50_000))
    flow = world.add(controller_class(PACKET), seed=5)
    world.run(2.0)
    size = _size(flow.controller)
    assert size < 2_500, f"{flow.controller.name} takes {size} bytes"


def _size(part: object) -> int:
    """Bytes of an object made of slots, its parts included; what is shared by all connections is not counted."""
    if isinstance(part, int | str | type | None | Enum | random.Random):
        return 0
    if isinstance(part, tuple):
        assert len(part) <= 8, "nothing per packet"
    if isinstance(part, float | tuple):
        return sys.getsizeof(part)
    assert not hasattr(part, "__dict__"), f"{part!r} has a dictionary"
    slots = [slot for kind in type(part).__mro__ for slot in getattr(kind, "__slots__", ())]
    assert slots, f"{part!r} is a container that could grow"
    return sys.getsizeof(part) + sum(_size(getattr(part, slot)) for slot in slots)
