"""Timelines as Perfetto traces: written with Perfetto's own builder (https://perfetto.dev/docs/reference/synthetic-track-event)."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import count
from pathlib import Path

from google.protobuf.message import DecodeError
from perfetto.protos.perfetto.trace.perfetto_trace_pb2 import Trace, TracePacket, TrackDescriptor, TrackEvent
from perfetto.trace_builder.proto_builder import TraceProtoBuilder

from avmm.plugin import LoadError
from avmm_trace.timeline import Category, CounterSample, Slice, Timeline, Track

_PROCESS = 1 << 40
"""The track of the VM as a whole, which Perfetto shows as a process."""
_SEQUENCE = 1
_MARK = "avmm timeline"
"""The event that carries what is known of the recording."""
_DETAIL = "detail"

_END, _START = 0, 1


def encode(timeline: Timeline) -> bytes:
    """`timeline` as the bytes of a Perfetto trace."""
    builder = TraceProtoBuilder()
    _describe(builder, timeline)
    last: dict[int, int] = {}
    for one in timeline.slices:
        last.update(dict.fromkeys(one.flows, id(one)))
    for at_ns, event, one in _edges(timeline.slices):
        packet = builder.add_packet()
        packet.timestamp = at_ns
        packet.trusted_packet_sequence_id = _SEQUENCE
        shown = packet.track_event
        shown.type = event
        shown.track_uuid = one.track
        if event != TrackEvent.TYPE_SLICE_END:
            shown.name = one.name
            shown.categories.append(one.category.value)
            if one.detail:
                shown.debug_annotations.add(name=_DETAIL, string_value=one.detail)
            for flow in one.flows:
                (shown.terminating_flow_ids if last[flow] == id(one) else shown.flow_ids).append(flow)
    for sample in timeline.samples:
        packet = builder.add_packet()
        packet.timestamp = sample.at_ns
        packet.trusted_packet_sequence_id = _SEQUENCE
        packet.track_event.type = TrackEvent.TYPE_COUNTER
        packet.track_event.track_uuid = sample.track
        packet.track_event.double_counter_value = sample.value
    data: bytes = builder.serialize()
    return data


def _describe(builder: TraceProtoBuilder, timeline: Timeline) -> None:
    """The tracks, and the recording itself."""
    process = builder.add_packet().track_descriptor
    process.uuid = _PROCESS
    process.process.pid = 1
    process.process.process_name = f"avmm {timeline.vm}"
    process.child_ordering = TrackDescriptor.EXPLICIT
    for track in sorted(timeline.tracks.values(), key=lambda track: track.number):
        packet = builder.add_packet()
        packet.trusted_packet_sequence_id = _SEQUENCE
        shown = packet.track_descriptor
        shown.uuid = track.number
        shown.name = track.name
        shown.parent_uuid = track.parent or _PROCESS
        shown.sibling_order_rank = track.number
        if track.counter:
            shown.counter.SetInParent()
    packet = builder.add_packet()
    packet.timestamp = timeline.start_ns
    packet.trusted_packet_sequence_id = _SEQUENCE
    mark = packet.track_event
    mark.type = TrackEvent.TYPE_INSTANT
    mark.track_uuid = _PROCESS
    mark.name = _MARK
    for name, value in (("recorded", timeline.recorded), ("lost", timeline.lost)):
        mark.debug_annotations.add(name=name, uint_value=value)
    mark.debug_annotations.add(name="vm", string_value=timeline.vm)


def _edges(slices: list[Slice]) -> Iterator[tuple[int, int, Slice]]:
    """Starts, ends and moments, in the order in which they are written: at one time, what ends does so before what starts."""
    edges: list[tuple[int, int, int, int, Slice]] = []
    numbers = count()
    for one in slices:
        number = next(numbers)
        if one.length_ns:
            edges.append((one.start_ns, _START, number, TrackEvent.TYPE_SLICE_BEGIN, one))
            edges.append((one.end_ns, _END, number, TrackEvent.TYPE_SLICE_END, one))
        else:
            edges.append((one.start_ns, _START, number, TrackEvent.TYPE_INSTANT, one))
    edges.sort(key=lambda edge: edge[:3])
    return ((at_ns, event, one) for at_ns, _, _, event, one in edges)


def read(path: Path) -> Timeline:
    """The timeline in a Perfetto trace that avmm wrote; LoadError for anything else."""
    trace = Trace()
    try:
        trace.ParseFromString(path.read_bytes())
    except OSError as error:
        raise LoadError(f"{path}: {error.strerror}") from None
    except DecodeError:
        raise LoadError(f"{path}: not a Perfetto trace, or a damaged one") from None
    timeline = None
    for packet in trace.packet:
        if packet.HasField("track_event") and packet.track_event.name == _MARK:
            known = {one.name: one for one in packet.track_event.debug_annotations}
            if known.keys() >= {"vm", "recorded", "lost"}:
                timeline = Timeline(known["vm"].string_value, known["recorded"].uint_value, known["lost"].uint_value)
    if timeline is None:
        raise LoadError(f"{path}: a Perfetto trace that `avmm run --trace` has not written")
    try:
        _fill(timeline, trace)
    except (KeyError, IndexError, ValueError) as error:
        raise LoadError(f"{path}: a damaged trace: {type(error).__name__}: {error}") from None
    return timeline


def _fill(timeline: Timeline, trace: Trace) -> None:
    """Tracks, slices and samples. KeyError, IndexError or ValueError when they do not fit together."""
    open_: dict[int, list[Slice]] = {}
    for packet in trace.packet:
        if packet.HasField("track_descriptor"):
            shown = packet.track_descriptor
            if shown.uuid != _PROCESS:
                parent = 0 if shown.parent_uuid == _PROCESS else shown.parent_uuid
                timeline.tracks[shown.uuid] = Track(shown.uuid, shown.name, parent, shown.HasField("counter"))
        elif packet.HasField("track_event") and packet.track_event.name != _MARK:
            _take(timeline, packet, open_)


def _take(timeline: Timeline, packet: TracePacket, open_: dict[int, list[Slice]]) -> None:
    """One event of a track. `open_` are the slices that have begun, by track."""
    shown, at_ns = packet.track_event, packet.timestamp
    track = timeline.tracks[shown.track_uuid].number
    if shown.type == TrackEvent.TYPE_COUNTER:
        timeline.samples.append(CounterSample(track, at_ns, shown.double_counter_value))
    elif shown.type == TrackEvent.TYPE_SLICE_END:
        open_[track].pop().end_ns = at_ns
    else:
        flows = sorted((*shown.flow_ids, *shown.terminating_flow_ids))
        detail = "".join(one.string_value for one in shown.debug_annotations if one.name == _DETAIL)
        one = Slice(track, at_ns, at_ns, Category(shown.categories[0]), shown.name, detail, flows)
        timeline.slices.append(one)
        if shown.type == TrackEvent.TYPE_SLICE_BEGIN:
            open_.setdefault(track, []).append(one)
