"""The rate model in a closed loop: it fills links that lose, keeps queues short, backs off where it must."""

from __future__ import annotations

import random
from collections.abc import Iterator

import pytest

from rudp.congestion import LossEvent
from rudp.congestion.background_loss import FEW, ROUNDS, BackgroundLoss
from rudp.congestion.ceiling import Ceiling
from rudp.congestion.model import Model, Phase
from rudp.congestion.new_reno import NewReno
from rudp.congestion.seen_queue import SeenQueue
from tests.bottleneck import PACKET, TRAIN, Flow, Path, World, goodput, queue_seen
from tests.congestion_steps import RTT, SIZE, Steps
from tests.test_congestion_interface import sample

MBIT = 125_000.0


def run(path: Path, until: float, *, seed: int = 1, **settings: float) -> tuple[World, Flow, Model]:
    world = World(path)
    model = Model(PACKET, random.Random(seed))
    flow = world.add(model, seed, **settings)
    world.run(until)
    return world, flow, model


def link(mbit: float, rtt: float, queue_bdp: float = 1.0, loss: float = 0.0, **fields: float) -> Path:
    """Return a path with a queue of `queue_bdp` BDP, thirty packets at least."""
    bdp = mbit * MBIT * rtt
    return Path(mbit * MBIT, rtt, max(queue_bdp * bdp, 30 * PACKET), loss, **fields)  # type: ignore[arg-type]


def report(flow: Flow, start: float, stop: float) -> str:
    path = flow.path
    mean, highest = queue_seen(flow, start, stop)
    share = goodput(flow, start, stop) / path.rate
    return (
        f"{share:.3f} C = {share / (1 - path.loss):.3f} (1 - p) C; queue {mean / path.bdp():.2f} mean, "
        f"{highest / path.bdp():.2f} most, in BDP; lost {flow.lost / flow.total_sent:.3f}"
    )


# Filling


@pytest.mark.parametrize("loss_first", [False, True])
@pytest.mark.parametrize(("loss", "share"), [(0.0, 0.95), (0.01, 0.95), (0.05, 0.95), (0.1, 0.95), (0.2, 0.9)])
def test_fills_a_link_with_random_loss(loss: float, share: float, loss_first: bool) -> None:
    path = link(100, 0.05, loss=loss)
    path.loss_first = loss_first
    _, flow, _ = run(path, 12.0)
    numbers = report(flow, 5.0, 12.0)
    assert goodput(flow, 5.0, 12.0) >= share * (1 - loss) * path.rate, numbers
    mean, _ = queue_seen(flow, 5.0, 12.0)
    assert mean < (0.35 if loss <= 0.1 else 0.8) * path.bdp(), numbers


@pytest.mark.parametrize("seed", [1, 2])
@pytest.mark.parametrize("loss", [0.0, 0.05, 0.2])
@pytest.mark.parametrize(
    ("mbit", "rtt", "times"),
    [(20, 0.05, (5, 15)), (10, 0.3, (15, 30)), (500, 0.01, (1, 2))],
)
def test_fills_slow_fast_near_and_far_links(
    mbit: float, rtt: float, times: tuple[float, float], loss: float, seed: int
) -> None:
    start, stop = times
    path = link(mbit, rtt, loss=loss)
    _, flow, _ = run(path, stop, seed=seed)
    floor = 0.85 if loss <= 0.05 else 0.8
    assert goodput(flow, start, stop) >= floor * (1 - loss) * path.rate, report(flow, start, stop)


@pytest.mark.parametrize(("rate", "rtt"), [(625e6, 100e-6), (1e9, 60e-6), (300e6, 300e-6)])
def test_keeps_a_loopback_busy(rate: float, rtt: float) -> None:
    """Trains of 64 KiB, one ACK each, and an RTT shorter than a train takes: the link must never run dry."""
    path = Path(rate, rtt, 2_000_000)
    _, flow, model = run(path, 0.3, ack_every=46, ack_delay=0.001)
    assert goodput(flow, 0.05, 0.3) >= 0.97 * rate, report(flow, 0.05, 0.3)
    assert model.congestion_window >= 3 * TRAIN
    _, highest = queue_seen(flow, 0.05, 0.3)
    # Some milliseconds' worth are no queue by the controller's clock, which has trains and jitter to look past.
    assert highest < 0.005 * rate + 3 * TRAIN, report(flow, 0.05, 0.3)


def test_a_drain_is_short_where_round_trips_are() -> None:
    world, _, model = run(Path(625e6, 100e-6, 2_000_000), 0.001, ack_every=46, ack_delay=0.001)
    drains = 0
    for millisecond in range(1, 4_000):
        world.run(millisecond / 1_000)
        drains += model.phase is Phase.PROBE_RTT
    # One, which begins with a flight that has to arrive, and hears by ACKs that take a millisecond.
    assert 0 < drains <= 30, f"{drains} ms"


def test_hosts_short_of_processors_are_no_queue() -> None:
    """A receiver that comes to share its processor and gets it every three milliseconds; the path takes 0.1 ms."""
    path = Path(625e6, 100e-6, 20_000_000)
    world, flow, _ = run(path, 0.1, ack_every=46, ack_delay=0.001)
    flow.ack_every, flow.ack_delay = 1 << 30, 0.003
    world.run(0.5)
    assert goodput(flow, 0.2, 0.5) >= 0.9 * path.rate, report(flow, 0.2, 0.5)


@pytest.mark.parametrize("queue_bdp", [0.02, 0.1, 0.3])
@pytest.mark.parametrize("loss", [0.0, 0.05])
def test_a_shallow_buffer_is_not_flooded(queue_bdp: float, loss: float) -> None:
    """Probing overflows a short queue each time, so it must come rarely."""
    path = link(100, 0.05, queue_bdp, loss)
    world, flow, _ = run(path, 5.0)
    lost, sent = flow.lost, flow.total_sent
    world.run(15.0)
    excess = (flow.lost - lost) / (flow.total_sent - sent) - loss
    assert goodput(flow, 5.0, 15.0) >= 0.9 * (1 - loss) * path.rate, report(flow, 5.0, 15.0)
    assert excess < 0.06, f"{excess:.3f} lost beyond {loss}; {report(flow, 5.0, 15.0)}"


def test_a_deep_buffer_is_not_filled() -> None:
    path = link(100, 0.05, 10.0)
    _, flow, _ = run(path, 15.0)
    mean, highest = queue_seen(flow, 2.0, 15.0)
    assert mean < 0.3 * path.bdp(), report(flow, 2.0, 15.0)
    assert highest < 1.0 * path.bdp(), report(flow, 2.0, 15.0)
    assert goodput(flow, 2.0, 15.0) > 0.95 * path.rate, report(flow, 2.0, 15.0)


def test_startup_finds_the_rate_in_a_few_round_trips() -> None:
    """From 14 kB to 625 kB a round trip takes six doublings; a tenth round trip finds the link full."""
    path = link(100, 0.05)
    world, flow, model = run(path, 0.5)
    assert model.delivery_rate > 0.9 * path.rate, f"{model.delivery_rate / path.rate:.2f} C after 10 round trips"
    world.run(1.0)
    assert model.phase is not Phase.STARTUP
    assert goodput(flow, 0.5, 1.0) > 0.9 * path.rate, report(flow, 0.5, 1.0)


def test_a_burst_of_loss_does_not_collapse_it() -> None:
    path = link(100, 0.05)
    world, flow, _ = run(path, 4.0)
    for second in range(4, 12):
        path.loss = 1.0
        world.run(second + 0.01)
        path.loss = 0.0
        world.run(second + 1.0)
    assert goodput(flow, 4.0, 12.0) > 0.87 * path.rate, report(flow, 4.0, 12.0)


# Backing off


@pytest.mark.parametrize("queue_bdp", [0.1, 1.0, 10.0])
@pytest.mark.parametrize("loss", [0.0, 0.1])
def test_follows_a_link_that_slows_down(queue_bdp: float, loss: float) -> None:
    path = link(100, 0.05, queue_bdp, loss)
    world, flow, model = run(path, 6.0)
    path.rate *= 0.3
    world.run(12.0)
    lost, sent = flow.lost, flow.total_sent
    world.run(18.0)
    numbers = f"estimate {model.delivery_rate / path.rate:.2f}; {report(flow, 12.0, 18.0)}"
    assert goodput(flow, 12.0, 18.0) >= 0.9 * (1 - loss) * path.rate, numbers
    assert model.delivery_rate < 1.25 * path.rate, numbers
    excess = (flow.lost - lost) / (flow.total_sent - sent) - loss
    assert excess < 0.06, f"{excess:.3f} lost beyond {loss}; {numbers}"
    mean, _ = queue_seen(flow, 12.0, 18.0)
    assert mean < 1.0 * path.bdp(), numbers


@pytest.mark.parametrize("queue_bdp", [0.1, 1.0])
def test_follows_a_link_that_speeds_up(queue_bdp: float) -> None:
    path = link(30, 0.05, queue_bdp)
    world, flow, _ = run(path, 6.0)
    path.rate = 100 * MBIT
    world.run(14.0)
    assert goodput(flow, 9.0, 14.0) > 0.9 * path.rate, report(flow, 9.0, 14.0)


def test_a_sudden_loss_of_most_capacity_is_answered_at_once() -> None:
    """Ten times too fast: nine in ten packets are lost. A second later few may be."""
    path = link(100, 0.05)
    world, flow, _ = run(path, 5.0)
    path.rate /= 10
    path.queue /= 10
    world.run(6.0)
    lost, sent = flow.lost, flow.total_sent
    world.run(10.0)
    share = (flow.lost - lost) / (flow.total_sent - sent)
    assert share < 0.1, f"{share:.3f} lost a second after; {report(flow, 6.0, 10.0)}"
    world.run(16.0)
    assert goodput(flow, 10.0, 16.0) > 0.7 * path.rate, report(flow, 10.0, 16.0)


def test_half_of_all_lost_at_random_without_a_queue_is_the_paths_own() -> None:
    """What is sent is first cut to what was delivered; as that changes nothing, it was no congestion."""
    path = link(100, 0.05)
    world, flow, model = run(path, 5.0)
    path.loss = 0.5
    world.run(25.0)
    assert goodput(flow, 15.0, 25.0) > 0.6 * 0.5 * path.rate, report(flow, 15.0, 25.0)
    assert model.background_loss == pytest.approx(0.5, abs=0.1)
    path.loss = 0.0
    world.run(30.0)
    assert goodput(flow, 27.0, 30.0) > 0.9 * path.rate, f"recovery: {report(flow, 27.0, 30.0)}"


@pytest.mark.parametrize("queue_bdp", [0.05, 0.2])
def test_many_flows_in_a_short_queue_back_off(queue_bdp: float) -> None:
    """Nothing makes it ignore congestion: eight flows that overflow a short queue must not lose ever more."""
    path = link(100, 0.05, queue_bdp)
    world = World(path)
    flows = [world.add(Model(PACKET, random.Random(seed)), seed, start=seed * 0.3) for seed in range(8)]
    world.run(5.0)
    lost, sent = sum(flow.lost for flow in flows), sum(flow.total_sent for flow in flows)
    world.run(20.0)
    share = (sum(flow.lost for flow in flows) - lost) / (sum(flow.total_sent for flow in flows) - sent)
    # In a queue of 2.5 ms each takes part of the others' overflow for the path's own loss; it stays bounded.
    assert share < (0.3 if queue_bdp < 0.1 else 0.1), f"{share:.3f} lost"


@pytest.mark.parametrize("threshold", [0.1, 0.2, 0.5])
def test_ce_marks_keep_the_queue_short(threshold: float) -> None:
    path = link(100, 0.05)
    path.mark_above = threshold * path.bdp()
    _, flow, _ = run(path, 15.0)
    mean, _ = queue_seen(flow, 5.0, 15.0)
    assert mean < threshold * path.bdp(), report(flow, 5.0, 15.0)
    assert goodput(flow, 5.0, 15.0) > 0.85 * path.rate, report(flow, 5.0, 15.0)


def test_persistent_congestion_starts_over() -> None:
    path = link(100, 0.05)
    world, flow, model = run(path, 4.0)
    model.on_persistent_congestion(world.now)
    assert model.phase is Phase.STARTUP
    assert model.congestion_window == 2 * PACKET
    assert model.delivery_rate == 0.0
    world.run(8.0)
    assert goodput(flow, 6.0, 8.0) > 0.9 * path.rate, report(flow, 6.0, 8.0)


def test_after_persistent_congestion_the_path_may_have_another_rtt() -> None:
    """RFC 9002 section 5.2. By the old one the new path looked like a queue, for eight seconds."""
    model = Model(PACKET, random.Random(1))
    *_, delivered = eighths(model, 1.0, 0, 10 * PACKET, 0.02)
    model.on_persistent_congestion(3.0)
    for _ in eighths(model, 3.1, delivered, 8 * PACKET, 0.06):
        assert model.phase is Phase.STARTUP
    assert model.min_rtt == pytest.approx(0.06)


# Sharing


@pytest.mark.parametrize("count", [2, 4, 8])
def test_flows_share_a_link(count: int) -> None:
    path = link(100, 0.05)
    world = World(path)
    flows = [world.add(Model(PACKET, random.Random(seed)), seed, start=seed * 1.0) for seed in range(count)]
    world.run(25.0)
    shares = [goodput(flow, 10.0, 25.0) / path.rate for flow in flows]
    told = ", ".join(f"{share:.2f}" for share in shares)
    assert sum(shares) > 0.95, told
    # Eight flows have 65 packets each, whose queues this loop's late acknowledgements hide in part.
    even = 0.95 if count < 8 else 0.8
    assert sum(shares) ** 2 / count / sum(share * share for share in shares) > even, told


def test_who_has_a_fast_link_leaves_half_of_it_to_the_second() -> None:
    """At 1 Gbit/s a queue by which rates are told apart is a fraction of a millisecond, as is what long trains make."""
    path = link(1_000, 0.05)
    world = World(path)
    flows = [world.add(Model(PACKET, random.Random(seed)), seed, start=seed * 1.0) for seed in range(2)]
    world.run(16.0)
    shares = [goodput(flow, 8.0, 16.0) / path.rate for flow in flows]
    assert sum(shares) > 0.95, f"{shares}"
    assert min(shares) > 0.4, f"{shares}"


def test_flows_in_a_short_buffer_do_not_talk_each_other_up() -> None:
    """Each sees the others' overflow; were it taken for the path's own loss, all would send ever more."""
    path = link(100, 0.05, 0.3)
    world = World(path)
    flows = [world.add(Model(PACKET, random.Random(seed)), seed, start=seed * 1.0) for seed in range(4)]
    world.run(30.0)
    lost = sum(flow.lost for flow in flows) / sum(flow.total_sent for flow in flows)
    assert lost < 0.1, f"{lost:.3f} lost"


@pytest.mark.parametrize("queue_bdp", [1.0, 4.0])
@pytest.mark.parametrize("first", [0, 1])
def test_a_flow_that_fills_the_queue_gets_its_share_and_leaves_ours(queue_bdp: float, first: int) -> None:
    path = link(50, 0.04, queue_bdp)
    world = World(path)
    flow = world.add(Model(PACKET, random.Random(1)), 1, start=2.0 * first)
    other = world.add(NewReno(PACKET), 2, start=2.0 * (1 - first))
    world.run(70.0)
    shares = [goodput(one, 15.0, 70.0) / path.rate for one in (flow, other)]
    assert min(shares) > 0.2, f"{shares}"


# The application


def test_an_application_that_holds_back_does_not_lower_the_rate() -> None:
    path = link(100, 0.05)
    world, flow, model = run(path, 4.0)
    before = model.delivery_rate
    flow.app_rate = 1 * MBIT
    flow.app_sent = int(flow.app_rate * world.now)
    world.run(16.0)
    assert model.delivery_rate >= 0.95 * before, f"{model.delivery_rate / before:.2f} of the rate before"
    flow.app_rate = None
    world.run(17.0)
    assert goodput(flow, 16.1, 17.0) > 0.85 * path.rate, report(flow, 16.1, 17.0)


def test_what_the_law_asks_for_while_the_application_holds_back_is_not_reckoned_with() -> None:
    world, flow, model = run(link(100, 0.05), 4.0)
    flow.app_rate = 50 * MBIT
    flow.app_sent = int(flow.app_rate * world.now)
    world.run(6.0)
    assert model._round.is_app_limited
    window = model._window
    world.run(7.0)
    assert model._window == window
    assert model._law._step == 0.0


def test_restart_from_idle_is_paced_at_the_rate() -> None:
    path = link(100, 0.05)
    world, flow, model = run(path, 4.0)
    flow.app_rate = 1e-6
    flow.app_sent = 1
    world.run(5.0)
    assert flow.in_flight == 0
    model.on_app_limited(world.now)
    model.on_sent(PACKET, 0, world.now)
    assert model.pacing_rate is not None
    assert model.pacing_rate <= 1.2 * model.delivery_rate
    assert model.phase is not Phase.STARTUP


def test_a_clock_may_begin_anywhere() -> None:
    """The first drain comes as late after the start on a host that has run for days as on one that has just begun."""
    phases: list[list[Phase]] = []
    for begin in (0.0, 2.0**20):
        model = Model(PACKET, random.Random(1))
        now, delivered = begin, 0
        phases.append([])
        for _ in range(60):
            window = min(model.congestion_window, 200 * PACKET)
            model.on_sent(window, 0, now)
            now, before = now + 0.125, delivered
            for left in range(window - window // 8, -1, -window // 8):
                delivered = before + window - left
                told = {"prior_delivered": before, "latest_rtt": 0.125, "smoothed_rtt": 0.125, "bytes_in_flight": left}
                model.on_ack(sample(now, window // 8, delivered, delivery_rate=window / 0.125, **told))
            phases[-1].append(model.phase)
    assert Phase.PROBE_RTT in phases[0]
    assert phases[1] == phases[0]


# The minimum RTT


@pytest.mark.parametrize("rate", [90, 100, 110])
def test_the_minimum_rtt_is_measured_anew(rate: float) -> None:
    """A longer one may be taken for others' queue for a while; a shorter one shows as a queue first, sinks by a part at
    each drain, and is known to a tenth after ten seconds.
    """
    path = link(rate, 0.05)
    world, flow, model = run(path, 4.0)
    assert model.min_rtt == pytest.approx(0.05, rel=0.05)
    path.rtt = 0.1
    world.run(36.0)
    assert model.min_rtt == pytest.approx(0.1, rel=0.1), f"{model.min_rtt} s"
    assert goodput(flow, 34.0, 36.0) > 0.85 * path.rate, report(flow, 34.0, 36.0)
    path.rtt = 0.02
    world.run(46.0)
    assert model.min_rtt == pytest.approx(0.02, rel=0.1), f"{model.min_rtt} s"


# Background loss


@pytest.mark.parametrize("loss", [0.0, 0.05, 0.15])
def test_background_loss_is_measured(loss: float) -> None:
    _, _, model = run(link(100, 0.05, loss=loss), 10.0)
    assert model.background_loss == pytest.approx(loss, abs=0.03)


def test_loss_that_cuts_do_not_change_is_background_though_no_queue_was_seen() -> None:
    """Start-up may end before there is a queue; then a fifth lost held the window down for ever, and no queue came."""
    path = link(100, 0.05, loss=0.2)
    world, flow, model = run(path, 2.0)
    model._background = BackgroundLoss()
    model._seen = SeenQueue()
    model._window = path.bdp() / 2
    model._ceiling = Ceiling(model._window)
    world.run(12.0)
    # Chance says how many cuts it takes: two to six seconds.
    assert goodput(flow, 9.0, 12.0) >= 0.9 * (1 - path.loss) * path.rate, report(flow, 9.0, 12.0)


def test_overflow_is_no_background() -> None:
    """What two flows lose at each other's hands in a short queue must not be made up for."""
    path = link(100, 0.05, 0.3)
    world = World(path)
    models = [Model(PACKET, random.Random(seed)) for seed in range(2)]
    for seed, model in enumerate(models):
        world.add(model, seed)
    world.run(20.0)
    told = ", ".join(f"{model.background_loss:.3f}" for model in models)
    assert max(model.background_loss for model in models) < 0.05, told


def after_a_rise(rate: float, rise: float, lasts: float, loss: float = 0.0) -> tuple[float, float, float]:
    """Of ten seconds after the RTT rose for a while, where what exceeds the rate is dropped: the share that was lost,
    goodput as a share of what the path lets through, and the background.
    """
    path = Path(rate * MBIT, 0.05, 5 * PACKET * rate / 20, loss)
    world, flow, model = run(path, 4.0)
    path.rtt += rise
    while not model._seen.is_deep(0.05) and world.now < 4.0 + lasts:
        world.run(world.now + min(lasts, 0.01))
    path.rtt -= rise
    world.run(10.0)
    lost, sent = flow.lost, flow.total_sent
    world.run(20.0)
    share = (flow.lost - lost) / (flow.total_sent - sent)
    return share, goodput(flow, 10.0, 20.0) / path.rate / (1 - loss), model.background_loss


RISES = (0.012, 0.018, 0.025, 0.03, 0.045)


@pytest.mark.parametrize("lasts", [0.002, 0.05, 1.0])
@pytest.mark.parametrize("rate", [20, 100])
def test_rtts_that_rise_for_a_while_are_no_queue_where_what_exceeds_the_rate_is_dropped(
    rate: float, lasts: float
) -> None:
    """One late ACK was believed for good, all overflow was taken for the path's own loss, and 70 % was dropped."""
    lost, shares, backgrounds = zip(*[after_a_rise(rate, rise, lasts) for rise in RISES], strict=True)
    assert max(lost) < 0.1, lost
    assert max(backgrounds) < 0.05
    assert min(shares) > 0.8, shares


@pytest.mark.parametrize("lasts", [0.002, 1.0])
@pytest.mark.parametrize("rise", [RISES[0], RISES[-1]])
@pytest.mark.parametrize("rate", [20, 100])
def test_nor_where_the_path_loses_by_itself(rate: float, rise: float, lasts: float) -> None:
    """Of what overflows in half of a flight, too, a tenth of all may be taken for the path's own, late ACKs or not."""
    lost, share, background = after_a_rise(rate, rise, lasts, 0.05)
    assert lost < 0.05 + 0.15
    assert background <= 0.1
    assert share > 0.85


def test_a_link_that_was_slow_for_a_while_has_a_queue_though_the_path_loses_more_and_more() -> None:
    """An eighth of what half a second at an eighth of the rate had shown was none, and a hundredth of the link left."""
    path = Path(100 * MBIT, 0.05, 4 * 100 * MBIT * 0.05, loss_first=True)
    world, flow, model = run(path, 3.0)
    path.rate /= 8
    world.run(3.5)
    path.rate *= 8
    world.run(7.0)
    assert model._seen.deepest > 0.3
    for tenth in range(100):
        path.loss = 0.003 * (tenth + 1)
        world.run(7.1 + tenth / 10)
    assert goodput(flow, 9.0, 17.0) > 0.9 * path.rate, report(flow, 9.0, 17.0)


@pytest.mark.parametrize("seen", [False, True])
def test_a_drain_that_is_to_tell_what_the_path_loses_is_sent_at_its_own_pace(seen: bool) -> None:
    """At full pace it overflowed a queue of five packets, too, and that was taken for the path's own loss: 18 %."""
    world, _, model = run(Path(20 * MBIT, 0.05, 5 * PACKET), 0.5)
    if seen:
        model._seen.note(0.02, model.min_rtt)
    assert model.background_loss > 0.01, "its start overflowed the queue"
    while model.phase is not Phase.PROBE_RTT:
        world.run(world.now + 0.005)
    for _ in range(4):
        world.run(world.now + 0.005)
        assert model.phase is Phase.PROBE_RTT
        assert model.pacing_rate is not None
        pace = model.pacing_rate * model.min_rtt / model._window
        assert (pace > 1.0) if seen else (pace < 0.7)


def test_a_pause_in_a_drain_ends_it_and_what_follows_is_sent_as_before() -> None:
    """What was said for the drain was left until the first ACK: a fifth less in flight, and half of the pace."""
    world, _, model = run(Path(20 * MBIT, 0.05, 5 * PACKET), 0.5)
    before, pace = model.congestion_window, model.pacing_rate
    while model.phase is not Phase.PROBE_RTT:
        before, pace = model.congestion_window, model.pacing_rate
        world.run(world.now + 0.005)
    assert pace is not None
    world.run(world.now + 0.01)
    assert model.pacing_rate is not None
    assert model.pacing_rate < 0.7 * pace
    model.on_idle_restart(1.0, world.now + 1.0)
    assert model.phase is Phase.STEADY
    assert model.congestion_window == pytest.approx(before, rel=0.1)
    assert model.pacing_rate == pytest.approx(pace, rel=0.2)


@pytest.mark.parametrize(
    ("packets", "base", "queue", "adds_up"),
    [(FEW, 0.05, 0.0, True), (FEW + 1, 0.05, 0.0, False), (FEW, 0.1, 0.0, False), (FEW, 0.05, 0.02, False)],
)
def test_rounds_are_judged_together_only_of_few_packets_where_no_queue_was_seen(
    packets: int, base: float, queue: float, adds_up: bool
) -> None:
    """Many tell by themselves, on a long path eight rounds are seconds, and a queue that was seen tells overflow."""
    model = Model(PACKET)
    model._base.update(base)
    model._window = float(packets * PACKET)
    model._seen.note(queue, base)
    model._round.acked, model._round.lost = 18 * PACKET, 2 * PACKET
    assert any(model._adds_up() for _ in range(ROUNDS)) is adds_up


@pytest.mark.parametrize("packets", [5, 10])
def test_a_queue_too_short_to_be_seen_is_not_flooded(packets: int) -> None:
    world, flow, model = run(Path(20 * MBIT, 0.05, packets * PACKET), 10.0)
    lost, sent = flow.lost, flow.total_sent
    world.run(30.0)
    assert flow.lost - lost < 0.06 * (flow.total_sent - sent)
    assert model.background_loss < 0.06
    assert goodput(flow, 10.0, 30.0) > 0.8 * world.path.rate


@pytest.mark.parametrize("first_rtt", [0.05, 0.056])
def test_only_the_round_after_a_drain_was_sent_by_less(first_rtt: float) -> None:
    """Where that met others' queue, a later one of the whole window was taken for it, and what it lost for the path's
    own.
    """
    world, _, model = run(link(100, 0.05), 5.0)
    assert model.phase is Phase.STEADY
    model._seen, model._background = SeenQueue(), BackgroundLoss()
    now, delivered, window = world.now, 1 << 30, 160 * PACKET
    for number, rtt, lost in ((0, first_rtt, 0), (1, 0.05, 16 * PACKET), (2, 0.05, 0)):
        now += rtt
        acks = eighths(model, now, delivered, window, rtt)
        next(acks)  # ends the round before
        model.on_loss(LossEvent(now, lost, now - rtt, window, window))
        *_, delivered = acks
        if not number:
            model._drained = True
    assert model.background_loss == 0.0
    assert model.ceiling < 1e9, "it was congestion"


def test_spurious_loss_is_taken_back() -> None:
    """Reordering that looked like loss leaves a controller where no loss would have."""
    lives = []
    for reordered in (False, True):
        model = Model(PACKET)
        now, delivered = 0.0, 0
        for _ in range(200):
            now += 0.05
            model.on_sent(40 * PACKET, 0, now - 0.05)
            if reordered:
                model.on_loss(LossEvent(now, 30 * PACKET, now - 0.05, 10 * PACKET, 40 * PACKET))
                model.on_spurious_loss(30 * PACKET, now)
            delivered += 40 * PACKET
            model.on_ack(sample(now, 40 * PACKET, delivered, latest_rtt=0.05, delivery_rate=800 * PACKET, min_rtt=0.05))
        lives.append((model.congestion_window, model.background_loss, model.ceiling, model.delivery_rate))
    assert lives[0] == lives[1]


def eighths(model: Model, now: float, before: int, window: int, rtt: float) -> Iterator[int]:
    """A window sent an RTT ago is acknowledged by eight ACKs at once: what is delivered after each."""
    model.on_sent(window, 0, now - rtt)
    for left in range(window - window // 8, -1, -window // 8):
        delivered = before + window - left
        told = {"prior_delivered": before, "latest_rtt": rtt, "smoothed_rtt": rtt, "bytes_in_flight": left}
        model.on_ack(sample(now, window // 8, delivered, delivery_rate=window / rtt, **told))
        yield delivered


@pytest.mark.parametrize("rounds", range(8))
def test_goes_on_after_a_long_pause_in_any_round(rounds: int) -> None:
    """A round that began before the pause is not held against an RTT that is to be measured anew."""
    model = Model(PACKET, random.Random(1))
    now, delivered, steady = 0.0, 0, 0
    for number in range(40):
        window = model.congestion_window
        rtt = 0.1 if number < 3 else 0.14
        now += rtt
        for so_far in eighths(model, now, delivered, window, rtt):
            delivered = so_far
            assert 0 < model.congestion_window < 1 << 28, "on a path that never shows a queue"
        steady += model.phase is Phase.STEADY
        if steady == rounds:
            steady += 100
            now += 11.0
            model.on_idle_restart(11.0, now)


def test_after_a_long_pause_nothing_is_known_of_what_the_path_loses() -> None:
    """A flow that came back to a path with another rate had half of what it sent dropped for good."""
    world, _, model = run(link(20, 0.05, loss=0.1), 8.0)
    assert model.background_loss > 0.05
    assert model._seen.deepest > 0.0
    model.on_idle_restart(9.0, world.now + 9.0)
    assert model.background_loss > 0.05
    model.on_idle_restart(11.0, world.now + 11.0)
    assert model.background_loss == 0.0
    assert model._seen.deepest == 0.0


@pytest.mark.parametrize(("used", "grows"), [(0.0625, False), (0.07, True)])
@pytest.mark.parametrize("limited", [True, False])
def test_a_start_goes_on_only_while_its_window_is_used(limited: bool, used: float, grows: bool) -> None:
    """Requests on a path with random loss came to windows of ten times what it holds, more the older they were."""
    model = Model(PACKET, random.Random(1))
    window = model.congestion_window
    flight = int(used * window)
    acked = sample(0.02, flight, flight, prior_in_flight=flight, lost_bytes=PACKET, is_app_limited=limited)
    model.on_ack(acked)
    assert (model.congestion_window > window) == (grows or not limited)


def test_what_a_drain_may_find_after_a_long_pause_is_of_the_path_as_it_is_then() -> None:
    """The lowest RTT since the last drain was the old path's, and so was the RTT without a queue at the next one."""
    model = Model(PACKET, random.Random(1))
    now, delivered, window = 0.0, 0, 100 * PACKET
    for number in range(400):
        rtt = 0.02 if number < 200 else 0.1
        if number == 200:
            now += 15.0
            model.on_idle_restart(15.0, now)
        now += rtt
        *_, delivered = eighths(model, now, delivered, window, rtt)
        if number > 201:
            assert model.min_rtt == pytest.approx(0.1)
    assert model._drain.number > 3


def lose_at_the_start(packets: int, lost: int, rate: float = 1e5) -> Model:
    """A model after a second round of so many packets, which came to `rate`, and the ACK that tells of the next."""
    steps = Steps(Model)
    steps.send(10 * SIZE, 0.0)
    steps.ack(10 * SIZE, RTT, 0.0, rate=1e5)
    steps.send(packets * SIZE, RTT)
    steps.ack(SIZE, 2 * RTT, RTT, rate=rate)
    steps.lose(lost * SIZE, 2 * RTT, RTT)
    steps.ack((packets - lost - 1) * SIZE, 2 * RTT, RTT, prior_delivered=10 * SIZE, rate=rate)
    steps.send(SIZE, 2 * RTT)
    steps.ack(SIZE, 3 * RTT, 2 * RTT, rate=rate)
    model = steps.controller
    assert isinstance(model, Model)
    return model


def test_a_short_round_that_loses_much_by_chance_is_no_overload() -> None:
    """Where 20 % are lost, one round of 19 packets in forty loses eight, which is more than OVERLOAD allows for."""
    assert lose_at_the_start(19, 8).phase is Phase.STARTUP


def test_a_round_that_loses_half_ends_the_start() -> None:
    assert lose_at_the_start(19, 13).phase is not Phase.STARTUP
    assert lose_at_the_start(60, 30).phase is not Phase.STARTUP


def test_a_round_that_loses_half_ends_the_start_though_its_rate_has_doubled() -> None:
    """The end was taken back for that: some of sixteen who started together went on until four fifths were lost."""
    assert lose_at_the_start(60, 30, rate=2e5).phase is not Phase.STARTUP
    assert lose_at_the_start(60, 10, rate=2e5).phase is Phase.STARTUP
