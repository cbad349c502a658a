"""Laws of what a peer may be sent that shatters what it acknowledges."""

from collections.abc import Callable, Iterator
from random import Random

import pytest

from bench.attack_datagrams import (
    Datagram,
    always_sending,
    honest_acks,
    late_ack_ranges,
    strided_ack_ranges,
    talking,
    tiny_ack_ranges,
)
from bench.attacks import in_wakeups
from bench.hostile import Peer
from rudp.ranges import RangeSet
from rudp.recovery import Recovery
from rudp.sent_packets import SentPackets, SentTrain
from rudp.shatter import BY_CHANCE, BY_LOSS, CUTS_PER_PACKET_OF_AN_ACK, CUTS_PER_SECOND, REMEMBERED, Shatter
from tests.sender import RTT, Sender

FULL = 1472


def train(first: int, count: int) -> SentTrain:
    return SentTrain(first, count, 0.0, FULL, FULL * count, stream_id=0, payload_size=1450, end_offset=count * 1450)


def tell(shatter: Shatter, cuts: int, packets: int) -> None:
    """An ACK of so many packets, with which none is found to be lost."""
    shatter.judge(cuts, packets)


def limit_of(recovery: Recovery) -> float | None:
    """What a connection's peer may be sent; it has nothing to tell before a train was cut."""
    shatter = recovery._shatter
    return None if shatter is None else shatter.limit


def limit(cuts_a_packet: float, packets_an_ack: int, acks: int = 2000) -> float | None:
    shatter, cuts = Shatter(), 0.0
    for _ in range(acks):
        cuts += cuts_a_packet * packets_an_ack
        tell(shatter, int(cuts), packets_an_ack)
    return shatter.limit


@pytest.mark.parametrize("share", [0.01, 0.1, 0.2, 0.3, 0.5, 0.7])
@pytest.mark.parametrize("every", [8, 46, 200])
def test_no_share_of_random_loss_slows_anybody(share: float, every: int) -> None:
    """However often an ACK comes: of all packets sent some are acknowledged, and those before them lost."""
    seed = Random().getrandbits(32)
    print(f"seed {seed}")
    random, sent, shatter = Random(seed), SentPackets(), Shatter()
    slowed = 0
    for number in range(0, 40_000, 40):
        sent.add(train(number, 40))
    for stop in range(every, 40_000, every):
        came = [number for number in range(stop - every, stop) if random.random() >= share]
        ranges = tuple((number, number + 1) for number in reversed(came))
        joined: list[tuple[int, int]] = []
        for first, end in ranges:
            if joined and joined[-1][0] == end:
                joined[-1] = first, joined[-1][1]
            else:
                joined.append((first, end))
        acked = sent.take_all(joined)
        lost = sent.take(0, stop)
        shatter.judge(sent.cuts, sum(item.count for item in acked + lost))
        slowed += shatter.limit is not None
    assert slowed == 0


@pytest.mark.parametrize("seed", range(8))
def test_what_an_ack_shows_to_be_lost_counts_with_what_it_acknowledges(seed: int) -> None:
    """Of 400 packets half are lost: the ACK's cuts are of all of them."""
    sender, random = Sender(), Random(seed)
    for start in range(0, 20_000, 400):
        for _ in range(10):
            sender.send(40)
        sender.now += RTT
        came = RangeSet((number, number + 1) for number in range(start, start + 400) if random.random() < 0.5)
        sender.ack(*reversed(list(came)))
        sender.events.clear()
        assert limit_of(sender.recovery) is None


def test_a_packet_at_a_time_in_any_order_is_slowed_to_what_the_cuts_may_cost() -> None:
    assert limit(1.0, 1) == pytest.approx(CUTS_PER_SECOND / (1 - BY_LOSS))
    assert limit(0.75, 1) == pytest.approx(CUTS_PER_SECOND / (0.75 - BY_LOSS), rel=0.01)
    assert limit(BY_LOSS, 1) is None


def test_the_limit_is_of_what_came_from_the_first_ack_on() -> None:
    shatter = Shatter()
    tell(shatter, 200, 100)
    assert shatter.limit == CUTS_PER_PACKET_OF_AN_ACK * 100 * 100 / (200 - BY_LOSS * 100)


def test_few_acks_leave_the_time_for_many_cuts() -> None:
    """As where a path jumbles packets: an ACK is about many."""
    assert limit(1.0, 40) == pytest.approx(40 * CUTS_PER_PACKET_OF_AN_ACK / (1 - BY_LOSS))
    assert limit(1.0, 2) == limit(1.0, 1)


def test_what_was_is_forgotten() -> None:
    shatter = Shatter()
    tell(shatter, 2 * BY_CHANCE, BY_CHANCE)
    assert shatter.limit is not None
    for _ in range(8):
        tell(shatter, 2 * BY_CHANCE, REMEMBERED // 4)
    assert shatter.limit is None
    # And nothing is saved up for later, however long it was in order.
    for _ in range(1000):
        tell(shatter, 2 * BY_CHANCE, REMEMBERED)
    cuts = 2 * BY_CHANCE
    for packets in range(1, 3 * REMEMBERED):
        tell(shatter, cuts + packets, 1)
        if shatter.limit is not None:
            break
    assert packets < 2 * REMEMBERED


@pytest.mark.parametrize("whole", [0, 100, 10_000])
def test_what_was_whole_before_the_first_cut_counts_as_if_it_had_been_judged(whole: int) -> None:
    """Then a stretch is jumbled, a cut a packet: as many go before less is sent, whoever counted them."""
    judged = Shatter()
    for _ in range(whole // 20):
        tell(judged, 0, 20)
    begun = Shatter(whole, 2)
    told = [0, 0]
    for number, shatter in enumerate((judged, begun)):
        while shatter.limit is None:
            told[number] += 2
            tell(shatter, told[number], 2)
    assert told[0] - REMEMBERED // 2 <= told[1] <= told[0]
    assert told[1] >= min(whole, REMEMBERED // 2) * BY_LOSS


@pytest.mark.parametrize("about", [(), (1,), (3,), (20,)])
def test_what_was_whole_is_taken_to_have_come_by_acks_like_the_first_that_cuts(about: tuple[int, ...]) -> None:
    shatter = Shatter(REMEMBERED, *about)
    tell(shatter, 2000, 2000)
    before = REMEMBERED // 2
    packets, acks = before + 2000, before // (about or (1,))[0] + 1
    assert shatter.limit == CUTS_PER_PACKET_OF_AN_ACK * packets / acks * packets / (2000 - BY_LOSS * packets)


def test_a_connection_whose_first_train_is_cut_late_is_given_what_was_whole_before() -> None:
    def slowed_after(whole: int) -> int:
        """Packets acknowledged one by one, after so many that were whole, until less may be sent."""
        sender = Sender()
        for first in range(0, whole, 40):
            sender.send(40)
            sender.ack((first, first + 40))
            sender.events.clear()
        number = whole
        while limit_of(sender.recovery) is None:
            if not (number - whole) % 40:
                sender.send(40)
            sender.ack((number, number + 1))
            sender.events.clear()
            number += 1
        return number - whole

    assert slowed_after(REMEMBERED // 40 * 40) >= slowed_after(0) + REMEMBERED // 4 * BY_LOSS
    assert slowed_after(20 * REMEMBERED) <= slowed_after(0) + 2 * REMEMBERED


def test_what_was_sent_on_an_earlier_path_counts_among_the_packets() -> None:
    """They are in flight no more, and cut all the same: of 8,000 with a tenth lost the cuts alone would be counted."""
    sender = Sender()
    for _ in range(200):
        sender.send(40)
    sender.recovery.on_path_changed(sender.now, reset=True)
    for first in range(0, 8_000, 40):
        sender.ack(*((start, start + 9) for start in range(first + 30, first - 10, -10)))
        sender.events.clear()
        assert limit_of(sender.recovery) is None


def test_a_few_packets_are_no_rule() -> None:
    shatter = Shatter()
    tell(shatter, BY_CHANCE, 0)
    assert shatter.limit is None


def sent_by(make: Iterator[Datagram], peer: Peer, seconds: float) -> int:
    """Bytes that the victim sent meanwhile."""
    before = peer.server.stats(peer.now).bytes_sent
    in_wakeups(peer, make, round(seconds * 20_000))
    return peer.server.stats(peer.now).bytes_sent - before


@pytest.mark.parametrize("attack", [strided_ack_ranges, tiny_ack_ranges])
def test_a_peer_that_shatters_what_it_acknowledges_is_sent_less(
    attack: Callable[[Peer], Iterator[Datagram]],
) -> None:
    peer = talking()
    sent_by(always_sending(attack)(peer), peer, 0.3)
    sent = sent_by(always_sending(attack)(peer), peer, 0.3)
    most = CUTS_PER_SECOND / (1 - BY_LOSS) * FULL
    assert 0.1 * 0.3 * most < sent < 1.3 * 0.3 * most
    recovery: Recovery = peer.server._recovery
    assert limit_of(recovery) is not None
    assert recovery.limited_by(peer.now) == "pacer"
    # Told in order again, it is sent as before.
    sent_by(always_sending(honest_acks)(peer), peer, 0.3)
    assert limit_of(recovery) is None
    assert sent_by(always_sending(honest_acks)(peer), peer, 0.3) > 0.9 * 0.3 * 125e6
    assert not peer.ends


def test_so_is_one_that_names_alone_what_it_let_be_declared_lost() -> None:
    """Each of them was sent again in vain: 86 MB/s and three quarters of a core before that counted."""
    peer = talking()
    sent_by(always_sending(late_ack_ranges)(peer), peer, 0.3)
    before = peer.server.stats(peer.now).packets_spurious
    sent = sent_by(always_sending(late_ack_ranges)(peer), peer, 0.3)
    most = CUTS_PER_SECOND / (1 - BY_LOSS) * FULL
    assert 0.1 * 0.3 * most < sent < 0.3 * most
    assert peer.server.stats(peer.now).packets_spurious > before
    assert limit_of(peer.server._recovery) is not None
    sent_by(always_sending(honest_acks)(peer), peer, 0.3)
    assert limit_of(peer.server._recovery) is None
    assert not peer.ends


def test_what_is_sent_less_for_that_says_nothing_of_the_path() -> None:
    peer = talking()
    sent_by(always_sending(strided_ack_ranges)(peer), peer, 0.6)
    recovery = peer.server._recovery
    most = CUTS_PER_SECOND / (1 - BY_LOSS) * FULL * recovery.rtt.smoothed_rtt
    before = recovery.congestion.congestion_window
    sent_by(always_sending(strided_ack_ranges)(peer), peer, 0.6)
    assert recovery.congestion.congestion_window <= max(before, 4 * most), "a window that isn't used doesn't grow"


def test_of_a_peer_whose_acks_cut_nothing_nothing_is_kept() -> None:
    sender = Sender()
    for number in range(0, 80, 2):
        sender.send(2)
        sender.now += RTT
        sender.ack((number, number + 2))
        sender.events.clear()
    assert sender.recovery._shatter is None
    sender.send(2)
    sender.now += RTT
    sender.ack((80, 81))
    assert sender.recovery._shatter is not None


def test_what_a_timer_declares_lost_counts_among_the_packets() -> None:
    shatter = Shatter()
    assert shatter.limit is None
    shatter.on_lost(50)
    shatter.on_lost(50)
    tell(shatter, BY_CHANCE + 50, 0)
    assert shatter.limit is None
    tell(shatter, BY_CHANCE + 51, 0)
    assert shatter.limit is not None


def test_a_rate_is_bound_by_the_packets_that_may_go() -> None:
    shatter = Shatter()
    assert (shatter.bound(None, FULL), shatter.bound(1e6, FULL)) == (None, 1e6)
    shatter.limit = 10.0
    assert [shatter.bound(rate, 100) for rate in (None, 500.0, 2000.0)] == [1000.0, 500.0, 1000.0]
