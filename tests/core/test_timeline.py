"""Decoded audio is placed where a player would play it, whatever the container omits."""

import io
from collections.abc import Callable
from fractions import Fraction
from typing import cast

import av
import numpy as np
import pytest
from av.audio.stream import AudioStream
from av.video.stream import VideoStream
from numpy.typing import NDArray

from vibevoice_core.audio import SAMPLE_RATE
from vibevoice_core.decode import decode
from vibevoice_core.errors import AudioTooLong
from vibevoice_core.timeline import Span, Timeline

RATE = 44_100
BURSTS = (0.5, 2.5, 4.5)
"""Seconds at which a 0.5 s tone begins, with silence in between."""
SECONDS = 6.0
GAP_AT, GAP = 3.5, 4.0
LATE = 4.9
CONTAINERS = [
    pytest.param("matroska", "libopus", id="mkv-opus"),
    pytest.param("matroska", "aac", id="mkv-aac"),
    pytest.param("matroska", "pcm_s16le", id="mkv-pcm"),
    pytest.param("webm", "libopus", id="webm"),
    pytest.param("mp4", "aac", id="mp4"),
    pytest.param("mpegts", "aac", id="ts-aac"),
    pytest.param("mpegts", "mp2", id="ts-mp2"),
    pytest.param("flv", "aac", id="flv"),
    pytest.param("asf", "libmp3lame", id="asf-mp3"),
    pytest.param("mov", "alac", id="mov-alac"),
    pytest.param("nut", "libmp3lame", id="nut-mp3"),
]
Packets = list[av.Packet]


def bursts() -> NDArray[np.float32]:
    """The tones, shape (samples,), at RATE."""
    times = np.arange(round(SECONDS * RATE)) / RATE
    on = np.any([(times >= start) & (times < start + 0.5) for start in BURSTS], axis=0)
    return (0.5 * np.sin(2 * np.pi * 440 * times) * on).astype(np.float32)


def _rate(codec: str) -> int:
    return 48_000 if codec == "libopus" else RATE


def encoded(codec: str) -> bytes:
    """The tones in a container that stores times accurately."""
    file = io.BytesIO()
    with av.open(file, "w", format="matroska") as output:
        stream = cast(AudioStream, output.add_stream(codec, rate=_rate(codec), layout="mono"))
        stream.codec_context.open()
        resampler = av.AudioResampler(
            stream.format, "mono", _rate(codec), frame_size=stream.codec_context.frame_size or 1024
        )
        frame = av.AudioFrame.from_ndarray(bursts()[None], format="flt", layout="mono")
        frame.sample_rate = RATE
        for part in [*resampler.resample(frame), *resampler.resample(None)]:
            output.mux(stream.encode(part))
        output.mux(stream.encode(None))
    return file.getvalue()


def recording(
    container: str, codec: str, change: Callable[[Packets], Packets], *, has_picture: bool = False
) -> bytes:
    """The tones in a container, with `change` applied to the packets; the video begins at 0."""
    file = io.BytesIO()
    with (
        av.open(io.BytesIO(encoded(codec)), "r") as source,
        av.open(file, "w", format=container) as output,
    ):
        template = source.streams.audio[0]
        pictures: Packets = []
        if has_picture:
            codec_name = {"webm": "libvpx", "flv": "flv"}.get(container, "mpeg4")
            picture = cast(VideoStream, output.add_stream(codec_name, rate=5))
            picture.width = picture.height = 32
            image = av.VideoFrame.from_ndarray(np.zeros((32, 32, 3), np.uint8))
            for number in range(60):
                image.pts = number
                image.time_base = Fraction(1, 5)
                pictures += picture.encode(image)
            pictures += picture.encode(None)
        stream = output.add_stream_from_template(template)
        packets = change([packet for packet in source.demux(template) if packet.dts is not None])
        for packet in packets:
            packet.stream = stream
        for packet in sorted([*packets, *pictures], key=seconds):
            output.mux(packet)
    return file.getvalue()


def seconds(packet: av.Packet) -> float:
    """The presentation time of a packet."""
    assert packet.pts is not None and packet.time_base is not None
    return float(packet.pts * packet.time_base)


def moved(packets: Packets, after: float, by: float) -> Packets:
    """`packets`, with those after `after` seconds shifted by `by` seconds."""
    for packet in packets:
        if seconds(packet) >= after:
            assert packet.pts is not None and packet.dts is not None and packet.time_base
            shift = round(by / packet.time_base)
            packet.pts, packet.dts = packet.pts + shift, packet.dts + shift
    return packets


def onsets(data: bytes) -> list[float]:
    """Seconds at which tones begin in the decoded audio."""
    blocks = decode(io.BytesIO(data), np.int16, max_seconds=60, timeout=60)
    loud = np.abs(np.concatenate(list(blocks))) > 3000
    near = np.convolve(loud, np.ones(SAMPLE_RATE // 5), "full")[: len(loud)] > 0
    return list(np.flatnonzero(near & ~np.concatenate([[False], near[:-1]])) / SAMPLE_RATE)


@pytest.mark.parametrize(("container", "codec"), CONTAINERS)
def test_a_late_start_is_silence(container: str, codec: str) -> None:
    """Sound that begins after the video keeps its position."""
    data = recording(container, codec, lambda p: moved(p, -1, LATE), has_picture=True)
    assert onsets(data) == pytest.approx([LATE + start for start in BURSTS], abs=0.06)


@pytest.mark.parametrize(("container", "codec"), CONTAINERS)
def test_without_a_picture_the_recording_begins_with_its_sound(container: str, codec: str) -> None:
    """A player shows the first sample at 0:00."""
    data = recording(container, codec, lambda p: moved(p, -1, LATE))
    assert onsets(data) == pytest.approx(BURSTS, abs=0.06)


@pytest.mark.parametrize(("container", "codec"), CONTAINERS)
def test_a_gap_is_silence(container: str, codec: str) -> None:
    """Audio after lost packets is not moved forward."""
    data = recording(container, codec, lambda p: moved(p, GAP_AT, GAP))
    first, second, third = BURSTS
    assert onsets(data) == pytest.approx([first, second, third + GAP], abs=0.06)


@pytest.mark.parametrize(("container", "codec"), CONTAINERS)
def test_missing_packets_are_silence(container: str, codec: str) -> None:
    """A missing second affects only itself."""

    def without(packets: Packets) -> Packets:
        return [p for p in packets if not 1.2 <= seconds(p) < 2.2]

    data = recording(container, codec, without)
    assert onsets(data) == pytest.approx(BURSTS, abs=0.06)


@pytest.mark.parametrize(("container", "codec"), CONTAINERS)
@pytest.mark.parametrize(
    "filler", [pytest.param(b"\0", id="zeros"), pytest.param(b"\xa5", id="a5")]
)
def test_damage_costs_its_own_time_only(container: str, codec: str, filler: bytes) -> None:
    """Half a second of overwritten packets between two tones shifts nothing."""

    def damaged(packets: Packets) -> Packets:
        return [
            _with_payload(packet, filler) if 1.5 <= seconds(packet) < 2.0 else packet
            for packet in packets
        ]

    found = onsets(recording(container, codec, damaged))
    assert min(abs(onset - BURSTS[0]) for onset in found) < 0.06
    assert min(abs(onset - BURSTS[1]) for onset in found) < 0.12
    assert min(abs(onset - BURSTS[2]) for onset in found) < 0.12


def _with_payload(packet: av.Packet, filler: bytes) -> av.Packet:
    other = av.Packet(filler * packet.size)
    other.pts, other.dts, other.time_base = packet.pts, packet.dts, packet.time_base
    other.duration = packet.duration
    return other


def positions(
    spans: list[tuple[float | None, float]], origin: float, end: float | None
) -> list[float]:
    """The positions of all frames of `spans`, each (time, duration)."""
    timeline = Timeline(origin, end)
    found = [position for span in spans for position in timeline.feed(Span(*span))]
    return [round(position, 6) for position in [*found, *timeline.finish()]]


@pytest.mark.parametrize(
    ("times", "expected"),
    [
        pytest.param([0, 1, 2], [0, 1, 2], id="plain"),
        pytest.param([None, None, None], [0, 1, 2], id="no-times"),
        pytest.param([0.03, 1.01, 2.05], [0.03, 1.03, 2.03], id="jitter"),
        pytest.param([0, 5, 6], [0, 5, 6], id="gap"),
        pytest.param([0, 5, 2, 3], [0, 1, 2, 3], id="one-damaged-time"),
        pytest.param([0, 5, 9, 10], [0, 5, 9, 10], id="two-gaps"),
        pytest.param([0, 1, 5], [0, 1, 5], id="gap-before-the-last"),
        pytest.param([0, 1, 2, 0, 1], [0, 1, 2, 3, 4], id="clock-begins-again"),
        pytest.param([0, 1, 50_000, 50_001], [0, 1, 2, 3], id="behind-the-end"),
        pytest.param([0, 0.6, 1.2], [0, 1, 2], id="overlap"),
    ],
)
def test_positions(times: list[float | None], expected: list[float]) -> None:
    """Frames of one second each, in a file whose header gives a length of 100 s."""
    assert positions([(time, 1.0) for time in times], 0.0, 100.0) == expected


def test_a_gap_counts_toward_the_limit() -> None:
    """A few kilobytes that claim hours of silence are rejected without generating it."""
    data = recording("webm", "libopus", lambda p: moved(p, GAP_AT, 30_000))
    blocks = decode(io.BytesIO(data), np.int16, max_seconds=600, timeout=60)
    with pytest.raises(AudioTooLong):
        assert sum(map(len, blocks)) <= 600 * SAMPLE_RATE
