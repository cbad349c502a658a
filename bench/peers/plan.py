"""Which runs there are, and in which order: contenders take turns, round after round.

Knows: the works' parameters, their sizes in a full run and in the short form. Refuses to know: how a run is done.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any, Final, NamedTuple

from rudp._version import __version__

from ..machine import machine
from .interface import Contender, Setup
from .process import Failed, Run, measure

__all__ = ["ENCRYPTED", "KNOWN_WORKS", "WORKS", "Options", "sweep"]

WORKS: Final = ("bulk", "rpc", "connections")
# What can be asked for: the first and quickest part of "connections" alone, too.
KNOWN_WORKS: Final = (*WORKS, "handshakes")
# From this many idle connections on they are many: some contenders can't.
MANY: Final = 2000
# Who is in the short form for more than bulk.
SHORT: Final = ("rudp-none", "tcp-streams")
ENCRYPTED: Final = "TLS 1.3"
NO_CERTIFICATE: Final = "neither the package cryptography nor the command openssl is there to make a certificate"


class Options(NamedTuple):
    """The size of it all."""

    works: tuple[str, ...] = WORKS
    size: int = 256_000_000  # bytes of bulk data
    rounds: int = 3
    datagram: int = 1400
    seconds: float = 1.0  # of each RPC and handshake measurement
    depths: tuple[int, ...] = (1, 100)
    idle: tuple[int, ...] = (1000, 10_000)
    limit: float = 90.0  # seconds a run may take
    short: bool = False

    def smoke(self) -> Options:
        """The short form: is it all there, does it all work."""
        return self._replace(size=4_000_000, rounds=1, seconds=0.1, idle=(50,), limit=20.0, short=True)


class Case(NamedTuple):
    """One measurement of a contender."""

    name: str
    work: str  # as `process` has it
    excluded: str  # the key in Contender.without
    options: dict[str, Any]
    server: dict[str, Any]
    rounds: int
    many: bool = False
    limit: float = 1.0  # times the usual one


def cases(options: Options) -> Iterable[Case]:
    """What each contender is to do, in order."""
    timed = {"depths": options.depths, "seconds": options.seconds}
    size = {"size": options.size}
    if "bulk" in options.works:
        yield Case("bulk", "bulk", "bulk", size, size, options.rounds)
    if "rpc" in options.works:
        yield Case("rpc", "rpc", "rpc", timed, {}, options.rounds)
    if "connections" in options.works or "handshakes" in options.works:
        yield Case("handshakes", "handshakes", "handshakes", timed, {}, options.rounds)
    if "connections" not in options.works:
        return
    for count in options.idle:
        many = count >= MANY
        script = {"count": count, "seconds": 2 * options.seconds, "talking": not many}
        yield Case(f"idle-{count}", "idle", "idle-many" if many else "idle", script, size, 1, True, 2.0)
    script = {"count": max(options.idle), "size": options.size}
    yield Case("held", "held", "held", script, size, 1, True, 2.0)


def why_not(contender: Contender, case: Case, certificate: str) -> str:
    """Why a contender is left out of a case, or nothing."""
    if contender.protection == ENCRYPTED and not certificate:
        return NO_CERTIFICATE
    keys = ("idle", case.excluded) if case.work == "idle" else (case.excluded,)
    return next((contender.without[key] for key in keys if key in contender.without), "")


def runs(
    contenders: Mapping[str, Contender], options: Options, certificate: str, left_out: list[dict[str, Any]]
) -> Iterator[tuple[Case, int, str]]:
    """Case, round, contender, in order; who is left out of a case is added to `left_out` with the reason."""
    for case in cases(options):
        taking_part = []
        for name, contender in contenders.items():
            if options.short and case.name != "bulk" and name not in SHORT:
                continue
            if why := why_not(contender, case, certificate):
                left_out.append({"work": case.name, "contender": name, "why": why})
            else:
                taking_part.append(name)
        yield from ((case, number, name) for number in range(case.rounds) for name in taking_part)


def sweep(
    contenders: Mapping[str, Contender],
    missing: Mapping[str, str],
    options: Options,
    certificate: tuple[str, str],
    tell: Callable[[str], None],
) -> dict[str, Any]:
    """All runs; the document that JSON files hold. Ctrl-C ends it with what there is."""
    rows: list[dict[str, Any]] = []
    failed: dict[tuple[str, str], str] = {}
    left_out: list[dict[str, Any]] = []
    finished = False
    try:
        for case, number, name in runs(contenders, options, certificate[0], left_out):
            if (case.name, name) in failed:
                continue
            tell(f"{case.name}, round {number + 1} of {case.rounds}: {name}")
            setup = Setup(options.datagram, *certificate, many=case.many)
            run = Run(name, case.work, setup, case.options, case.server, case.limit * options.limit)
            try:
                rows.append({"work": case.name, "contender": name, "round": number} | measure(run))
            except Failed as error:
                failed[case.name, name] = str(error)
        finished = True
    except KeyboardInterrupt:
        tell("interrupted")
    return {
        "benchmark": "peers",
        "version": __version__,
        **machine(),
        "finished": finished,
        "options": options._asdict(),
        "contenders": {
            name: {key: getattr(one, key) for key in ("kind", "packet", "protection", "transport", "note")}
            for name, one in contenders.items()
        },
        "missing": dict(missing),
        "failures": [
            {"work": work, "contender": name, "error": error} for (work, name), error in failed.items()
        ],
        "left_out": left_out,
        "rows": rows,
    }
