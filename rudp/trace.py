"""Traces in qlog's format: one header, then one event a record, for the tools that read qlog.

Knows: the sequential form of draft-ietf-quic-qlog-main-schema-14 (JSON text sequences, RFC 7464), the names of
draft-ietf-quic-qlog-quic-events-13 for what rudp has in common with QUIC, and the two of its own (`sim:`).
Refuses to know: clocks, files, who writes and when. Times come in seconds and are written in milliseconds, as
qlog has them.

Operations: `Writer` puts one string a record into `write`; `read` and `series` get events and columns back. Cost:
one `json.dumps` a record.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any, Final, NamedTuple

from rudp.errors import DecodeError

__all__ = [
    "METRICS_UPDATED",
    "PACKET_DROPPED",
    "PACKET_RECEIVED",
    "PACKET_SENT",
    "QUEUE_UPDATED",
    "Event",
    "Writer",
    "read",
    "series",
]

PACKET_SENT: Final = "quic:packet_sent"
PACKET_RECEIVED: Final = "quic:packet_received"
METRICS_UPDATED: Final = "quic:recovery_metrics_updated"
# What happens between hosts has no name in the drafts: a node lost a packet; a line's queue as it is.
PACKET_DROPPED: Final = "sim:packet_dropped"
QUEUE_UPDATED: Final = "sim:queue_updated"

_SCHEMAS: Final = ["urn:ietf:params:qlog:events:quic-13", "urn:rudp:qlog:events:sim"]
# What every record begins with (RFC 7464 section 2.2).
_RECORD_SEPARATOR: Final = "\x1e"


class Event(NamedTuple):
    """One event: `time` in seconds; what is in `data` has qlog's names and units (milliseconds, bytes, bits a second).

    `group_id` says whose event it is: a host's address, or an address and a connection's id in hex.
    """

    time: float
    name: str
    data: dict[str, Any]
    group_id: str


class Writer:
    """Gives one string a record to `write`, the header first."""

    __slots__ = ("_write",)

    def __init__(
        self, write: Callable[[str], object], *, title: str, common_fields: Mapping[str, Any] | None = None
    ) -> None:
        self._write = write
        times = {"clock_type": "monotonic", "epoch": "unknown"}
        self._record(
            {
                "file_schema": "urn:ietf:params:qlog:file:sequential",
                "serialization_format": "application/qlog+json-seq",
                "title": title,
                "trace": {
                    "title": title,
                    "vantage_point": {"name": "rudp.sim", "type": "network", "flow": "client"},
                    "event_schemas": _SCHEMAS,
                    "common_fields": {
                        "time_format": "relative_to_epoch",
                        "reference_time": times,
                        **(common_fields or {}),
                    },
                },
            }
        )

    def event(self, event: Event) -> None:
        """Write one event. Times must not go back from one to the next."""
        record: dict[str, Any] = {
            "time": milliseconds(event.time),
            "name": event.name,
            "data": event.data,
            "group_id": event.group_id,
        }
        self._record(record)

    def _record(self, record: Mapping[str, Any]) -> None:
        self._write(f"{_RECORD_SEPARATOR}{json.dumps(record, separators=(',', ':'))}\n")


def milliseconds(seconds: float) -> float:
    """Seconds as qlog has times: in milliseconds, to the nanosecond."""
    return round(seconds * 1e3, 6)


def read(lines: Iterable[str]) -> Iterator[Event]:
    """The events of a trace, in order; `lines` is an open text file or any lines, one record each.

    Raises DecodeError for what is no such trace.
    """
    header_due = True
    for number, line in enumerate(lines, 1):
        text = line.strip(_RECORD_SEPARATOR + " \r\n")
        if not text:
            continue
        try:
            record = json.loads(text)
            if header_due:
                header_due = False
                if record["file_schema"] != "urn:ietf:params:qlog:file:sequential":
                    raise DecodeError(f"line {number}: a trace of another kind: {record['file_schema']!r}")
                continue
            event = Event(record["time"] / 1e3, record["name"], record["data"], record.get("group_id", ""))
        except (ValueError, KeyError, TypeError) as error:
            raise DecodeError(f"line {number} is no record of a trace: {error!r}") from error
        yield event


def series(
    events: Iterable[Event], name: str, field: str, group_id: str | None = None
) -> tuple[list[float], list[Any]]:
    """Two columns to plot: times in seconds, and what `field` of the data was in events of a `name` that have it.

    `group_id` takes events of that group only, or of all groups that begin with it as a word: those of 10.0.0.1 are
    not those of 10.0.0.10.
    """
    times: list[float] = []
    values: list[Any] = []
    for event in events:
        if event.name == name and field in event.data and _begins(event.group_id, group_id or ""):
            times.append(event.time)
            values.append(event.data[field])
    return times, values


def _begins(group_id: str, word: str) -> bool:
    """Whether it begins with `word`, and the word ends there."""
    after = group_id[len(word) : len(word) + 1]
    return group_id.startswith(word) and not (word[-1:].isalnum() and after.isalnum())
