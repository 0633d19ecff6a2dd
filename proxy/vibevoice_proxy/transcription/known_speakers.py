"""Collects the known speakers of a request: from its references, or from the enrolled speakers."""

from collections.abc import Sequence

from anyio import to_thread

from vibevoice_proxy.errors import InvalidRequest
from vibevoice_proxy.transcription.references import (
    NAMES,
    REFERENCES,
    VoiceReader,
    check_count,
    check_names,
    read_data_url,
)
from vibevoice_proxy.transcription.speaker_store import SpeakerStore, find
from vibevoice_proxy.transcription.voices import KnownSpeaker

EVERYBODY = "*"
"""Selects all enrolled speakers."""


class KnownSpeakers:
    """Finds the voices of the speakers that requests name."""

    def __init__(self, reader: VoiceReader | None, store: SpeakerStore | None, most: int) -> None:
        """`reader` is None if voices are not compared; `store` is None if enrollment is off.
        `most`: maximum number of references in a request."""
        self.reader = reader
        self.store = store
        self._most = most

    async def collect(self, names: Sequence[str], references: Sequence[str]) -> list[KnownSpeaker]:
        """The speakers of a request.

        Raises InvalidRequest or InvalidAudio if a name or reference is invalid, and
        UpstreamUnavailable if voices cannot be compared now.
        """
        if not any(name.strip() for name in names) and not any(one.strip() for one in references):
            return []
        if self.reader is None:
            raise InvalidRequest(
                "This server does not compare voices (VIBEVOICE_SPEAKER_LINKING), so it "
                f"cannot recognize known speakers; omit {NAMES} and {REFERENCES}.",
                param=NAMES,
                code="unsupported",
            )
        if names and not references and self.store:
            return await self._enrolled(self.store, names)
        check_count(names, references, self._most)
        return await self._referenced(self.reader, check_names(names), references)

    async def _referenced(
        self, reader: VoiceReader, names: Sequence[str], references: Sequence[str]
    ) -> list[KnownSpeaker]:
        found: list[KnownSpeaker] = []
        for number, (name, reference) in enumerate(zip(names, references, strict=True), 1):
            place = f"reference {number} of {REFERENCES}"
            data = await to_thread.run_sync(read_data_url, reference, place)
            found.append(KnownSpeaker(name, await reader.read(data, place, REFERENCES)))
        return found

    async def _enrolled(self, store: SpeakerStore, names: Sequence[str]) -> list[KnownSpeaker]:
        enrolled = await to_thread.run_sync(store.speakers)
        if list(names) == [EVERYBODY]:
            return [KnownSpeaker(one.name, one.voice) for one in enrolled]
        found: list[KnownSpeaker] = []
        for number, name in enumerate(check_names(names), 1):
            if (speaker := find(enrolled, name)) is None:
                raise InvalidRequest(
                    f"Name {number} of {NAMES} is not an enrolled speaker and has no reference.",
                    param=NAMES,
                    code="speaker_not_found",
                )
            found.append(KnownSpeaker(speaker.name, speaker.voice))
        return found
