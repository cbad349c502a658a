"""Traces: what is written is what is read, in the form of qlog's sequential files."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rudp import trace
from rudp.errors import DecodeError

EVENTS = st.builds(
    trace.Event,
    st.integers(0, 10**12).map(lambda nanoseconds: nanoseconds / 1e9),
    st.sampled_from([trace.PACKET_SENT, trace.METRICS_UPDATED, trace.QUEUE_UPDATED]),
    st.dictionaries(st.text(max_size=5), st.integers() | st.text(max_size=5) | st.none(), max_size=4),
    st.text(max_size=8),
)


def written(events: list[trace.Event], **fields: object) -> list[str]:
    records: list[str] = []
    writer = trace.Writer(records.append, title="a run", common_fields=fields)
    for event in events:
        writer.event(event)
    return records


@given(st.lists(EVENTS, max_size=10))
def test_what_is_written_is_what_is_read(events: list[trace.Event]) -> None:
    found = list(trace.read(written(events)))
    assert [event._replace(time=0.0) for event in found] == [event._replace(time=0.0) for event in events]
    assert [event.time for event in found] == pytest.approx([event.time for event in events], abs=1e-9)


def test_records_are_a_json_text_sequence_with_a_header_of_qlog() -> None:
    header, record = written([trace.Event(1.5, trace.PACKET_SENT, {"raw": {"length": 3}}, "a:1")], seed=7)
    assert header[0] == record[0] == "\x1e"
    assert header[-1] == record[-1] == "\n"
    said = json.loads(header[1:])
    assert said["file_schema"] == "urn:ietf:params:qlog:file:sequential"
    assert said["serialization_format"] == "application/qlog+json-seq"
    assert said["trace"]["event_schemas"][0] == "urn:ietf:params:qlog:events:quic-13"
    assert said["trace"]["common_fields"]["seed"] == 7
    assert said["trace"]["common_fields"]["time_format"] == "relative_to_epoch"
    assert json.loads(record[1:]) == {
        "time": 1500.0,
        "name": "quic:packet_sent",
        "data": {"raw": {"length": 3}},
        "group_id": "a:1",
    }


@pytest.mark.parametrize(
    "lines",
    [
        ["nothing"],
        ["{}"],
        ["[]"],
        ['{"file_schema": "urn:ietf:params:qlog:file:contained"}'],
        [*written([]), '{"time": 1}'],
        [*written([]), '{"time": "late", "name": "x", "data": {}}'],
    ],
)
def test_what_is_no_trace_is_said_to_be_none(lines: list[str]) -> None:
    with pytest.raises(DecodeError, match="line"):
        list(trace.read(lines))


def test_a_series_is_two_columns() -> None:
    events = [
        trace.Event(0.5, trace.METRICS_UPDATED, {"congestion_window": 10}, "a:1 07"),
        trace.Event(0.6, trace.METRICS_UPDATED, {"congestion_window": 12}, "b:1 08"),
        trace.Event(0.7, trace.QUEUE_UPDATED, {"congestion_window": 99}, "a:1 07"),
        trace.Event(0.8, trace.METRICS_UPDATED, {"bytes_in_flight": 3}, "a:1 07"),
        trace.Event(0.9, trace.METRICS_UPDATED, {"congestion_window": 11}, "a:1 07"),
    ]
    assert trace.series(events, trace.METRICS_UPDATED, "congestion_window", "a:1") == ([0.5, 0.9], [10, 11])
    assert trace.series(events, trace.METRICS_UPDATED, "congestion_window")[1] == [10, 12, 11]


@pytest.mark.parametrize(
    ("group_id", "found"),
    [
        ("10.0.0.1", [1, 2]),
        ("10.0.0.1:50", [1]),
        ("10.0.0.1:50 0a", [1]),
        ("10.0.0.", [1, 2, 3]),
        ("10.0.0.11", [3]),
        ("Rate 1", [4]),
        ("[::1]", [6]),
        ("", [1, 2, 3, 4, 5, 6]),
        ("10.0.0.2", []),
    ],
)
def test_a_series_is_of_a_group_not_of_those_whose_names_only_begin_like_it(group_id: str, found: list[int]) -> None:
    groups = ("10.0.0.1:50 0a", "10.0.0.1:5000", "10.0.0.11:50", "Rate 1", "Rate 12", "[::1]:5")
    events = [trace.Event(0.0, "x", {"n": number}, group) for number, group in enumerate(groups, 1)]
    assert trace.series(events, "x", "n", group_id)[1] == found
