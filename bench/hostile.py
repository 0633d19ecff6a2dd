"""Generates random damaged recordings and broken forms for `bench.fuzz`."""

import random
from collections.abc import Callable

from tests.support.recordings import encoded, tone, wav

CONTAINERS: dict[str, Callable[[], bytes]] = {
    "wav": lambda: wav(tone(1.0)),
    "flac": lambda: encoded("flac", "flac", 1.0),
    "mp3": lambda: encoded("mp3", "libmp3lame", 1.0),
    "aac": lambda: encoded("adts", "aac", 1.0),
    "ogg": lambda: encoded("ogg", "libopus", 1.0),
    "webm": lambda: encoded("webm", "libopus", 1.0),
    "m4a": lambda: encoded("ipod", "aac", 1.0),
    "mp4": lambda: encoded("mp4", "aac", 1.0, video=True),
    "mkv": lambda: encoded("matroska", "aac", 1.0),
    "aiff": lambda: encoded("aiff", "pcm_s16be", 1.0),
}
LIES = [0, 1, 2, 0x7F, 0xFF, 0x7FFF, 0x8000, 0xFFFF, 0x7FFFFFFF, 0x80000000, 0xFFFFFFFF]
"""Replacements for lengths, counts, and rates in a header."""
HEADER_BYTES = 512
FIELDS = ["model", "prompt", "language", "response_format", "temperature", "stream", "file"]
VALUES = [
    "", " ", "json", "srt", "true", "nan", "-1", "1e999", "0.5", "\0", "\r\n", "<|im_end|>", "{}",
    "../../etc/passwd", "file:///etc/passwd", "x" * 5000, "😀" * 100, "%00", "'; --", "[1,2",
]  # fmt: skip


def damaged_audio(rng: random.Random, originals: dict[str, bytes]) -> tuple[str, bytes]:
    """(container and damage, bytes) of a damaged recording."""
    container = rng.choice(sorted(originals))
    data = bytearray(originals[container])
    damage = rng.choice(["flips", "cut", "lie", "splice", "hole", "repeat", "tail"])
    at = rng.randrange(len(data))
    if damage == "flips":
        for _ in range(rng.choice([1, 4, 32, 256])):
            data[rng.randrange(len(data))] ^= 1 << rng.randrange(8)
    elif damage == "cut":
        del data[at:]
    elif damage == "lie":
        for _ in range(rng.choice([1, 2, 8])):
            size = rng.choice([1, 2, 4, 8])
            lie = (rng.choice(LIES) % (1 << 8 * size)).to_bytes(size, rng.choice(["big", "little"]))
            start = rng.randrange(max(1, min(HEADER_BYTES, len(data) - size)))
            data[start : start + size] = lie
    elif damage == "splice":
        other = originals[rng.choice(sorted(originals))]
        data[at:] = other[rng.randrange(len(other)) :]
    elif damage == "hole":
        data[at : at + 1000] = bytes(len(data[at : at + 1000]))
    elif damage == "repeat":
        data[at:at] = data[at : at + 4096] * rng.choice([1, 10])
    else:  # mp4 has its index at the end; other formats do not need theirs
        del data[: at // 2]
    return f"{container} {damage}", bytes(data)


def hostile_form(rng: random.Random, recording: bytes) -> tuple[str, bytes]:
    """(content type, body) of a form that correct clients never send."""
    boundary = rng.choice(["x", "-" * 70, "a'b", "%0d"])
    parts = []
    for _ in range(rng.choice([0, 1, 2, 5, 40])):
        name = rng.choice([*FIELDS, *VALUES, "languages[]", "keywords[]", "include[]"])
        value = rng.choice(VALUES).encode("utf-8", "replace")
        extra = rng.choice(["", "", f'; filename="{rng.choice(VALUES)[:50]}"', "; filename="])
        parts.append(f'form-data; name="{name}"{extra}'.encode() + b"\r\n\r\n" + value)
    if rng.random() < 0.7:
        parts.append(b'form-data; name="file"; filename="a"\r\n\r\n' + recording)
    rng.shuffle(parts)
    edge = b"--" + boundary.encode()
    body = b"".join(edge + b"\r\ncontent-disposition: " + part + b"\r\n" for part in parts)
    body += rng.choice([edge + b"--\r\n", edge + b"--\r\n", edge, b""])
    if rng.random() < 0.4:
        spoiled = bytearray(body or b"?")
        for _ in range(rng.choice([1, 5, 50])):
            spoiled[rng.randrange(min(len(spoiled), 600))] = rng.randrange(256)
        body = bytes(spoiled)
    kinds = [f"multipart/form-data; boundary={boundary}"] * 8
    kinds += ["multipart/form-data", "application/json", "text/plain", ""]
    return rng.choice(kinds), body
