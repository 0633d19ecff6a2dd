"""Finds out how much is lost at the end of a file that was cut off.

The file's structure shows whether it was cut off; its header shows how long it was. Ogg, AAC,
MPEG-TS, and others have neither, so a file that was cut off looks like a complete one.
"""

import re
from dataclasses import dataclass
from typing import BinaryIO

import av
from av.audio.frame import AudioFrame
from av.audio.stream import AudioStream
from av.container import InputContainer

from vibevoice_core.structure import FLAC, MATROSKA, MP4, find_cut

TOLERANCE = 0.5
"""Seconds by which a complete file may be shorter than its header says. Encoders' delays and
padding, and rounded times, are less than 0.4 s: 5 frames of MP3 at 8 kHz take 0.36 s."""
UNKNOWN = 1.0
"""Seconds that count as lost if a file was cut off but does not declare its original length."""

_PROPORTIONAL = ("wav", "aiff")
"""Demuxers of formats in which the length of the audio is proportional to its size in bytes."""


@dataclass
class Reached:
    """How far a file has been read."""

    decoded: float = 0.0
    """Seconds of decoded audio."""
    track: float = 0.0
    """The container's time at which the audio track's last frame ends, in seconds."""
    last_packet: av.Packet | None = None
    """The last packet of the audio track."""

    def track_to(self, frame: AudioFrame) -> None:
        """Count a frame of the audio track."""
        if frame.time is not None:
            self.track = max(self.track, frame.time + frame.samples / frame.sample_rate)


def lost_seconds(
    source: BinaryIO, container: InputContainer, stream: AudioStream, reached: Reached
) -> float:
    """Seconds that are lost at the end of `stream`, which has been read to its end; 0 if the file
    is complete or its structure cannot show it. `source` is the file of `container`."""
    name = container.format.name
    packet = reached.last_packet if name == FLAC else None
    cut = find_cut(source, name, b"" if packet is None else bytes(packet))
    if cut is None:
        return 0.0
    estimate = cut.missing * reached.decoded
    if name in _PROPORTIONAL:
        lost = estimate
    else:
        end = _declared_end(container, stream, is_fragmented=cut.is_fragmented)
        lost = None if end is None else end - max(reached.track, reached.decoded)
    if not reached.decoded or lost is None or lost < -TOLERANCE:
        return max(estimate, UNKNOWN)
    if cut.is_fragmented:
        return max(lost, UNKNOWN)
    return lost if lost > TOLERANCE else 0.0


def _declared_end(
    container: InputContainer, stream: AudioStream, *, is_fragmented: bool
) -> float | None:
    """The time in seconds at which the track ends according to the file's header."""
    if container.format.name == MATROSKA:
        return _matroska_end(container, stream)
    if stream.duration is None or stream.time_base is None:
        return None
    end = (stream.start_time or 0) + stream.duration
    entries = stream.index_entries
    count = len(entries)
    if container.format.name == MP4 and not is_fragmented and count > 1:
        # The index is exact, but the duration does not take all edit lists into account.
        last = entries[count - 1].timestamp
        end = min(end, last + max(0, last - entries[count - 2].timestamp))
    return float(end * stream.time_base)


def _matroska_end(container: InputContainer, stream: AudioStream) -> float | None:
    """The end of the longest track, or of this one if it has the tag DURATION. FFmpeg writes it
    before the audio; despite its name, it is the time at which the track ends. Without it, this
    track might have gone on to the end."""
    if container.duration is None:
        return None
    end = container.duration / av.time_base
    tag = re.fullmatch(r"(\d+):(\d\d):(\d\d(?:\.\d+)?)", stream.metadata.get("DURATION", ""))
    if tag is None:
        return end
    hours, minutes, seconds = map(float, tag.groups())
    return min(end, 3600 * hours + 60 * minutes + seconds)
