"""The messages at the beginning and at the end of a run."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from vibevoice_batch.journal import Entry, Journal
from vibevoice_batch.progress import Report
from vibevoice_batch.recordings import Found, Recording
from vibevoice_batch.server import UNCLEAR, UNCLEAR_HINT

NAMED = 20
"""Maximum number of failures, and of incomplete transcripts, listed in the summary; the journal has
all."""


@dataclass(frozen=True, slots=True)
class Plan:
    """The recordings of a run: each is in one of these lists, or was rejected in an earlier run."""

    pending: list[Recording] = field(default_factory=list)
    """To be transcribed now."""
    later: list[Recording] = field(default_factory=list)
    """Left for later because of --limit."""
    before: list[Recording] = field(default_factory=list)
    """Already transcribed."""
    again: int = 0
    """How many of `pending` already have a transcript, but the file or an option has changed
    since."""


def plan(
    recordings: list[Recording], journal: Journal, *, limit: int | None, retry_failed: bool
) -> Plan:
    """Decide what there is to do for `recordings`."""
    to_do, before = [], []
    for recording in recordings:
        entry = journal.entry(recording)
        if entry is None or not entry.is_final or (entry.error and retry_failed):
            to_do.append(recording)
        elif not entry.error:
            before.append(recording)
    limit = len(to_do) if limit is None else limit
    pending = to_do[:limit]
    again = sum(_has_transcript(journal.named(recording.name)) for recording in pending)
    return Plan(pending, to_do[limit:], before, again)


def _has_transcript(entry: Entry | None) -> bool:
    return entry is not None and entry.error is None


def announce(found: Found, work: Plan) -> Report:
    """Report what there is to do and what is skipped; return the report for the run."""
    size = sum(_size(recording.path) for recording in work.pending)
    report = Report(len(work.pending), size)
    count, to_do = len(found.recordings), len(work.pending)
    later = f", {len(work.later)} for later runs (--limit)" if work.later else ""
    recordings = "recording" if count == 1 else "recordings"
    report.say(f"{count} {recordings}, {to_do} to do ({size / 1e6:.1f} MB){later}")
    if work.again:
        have = "1 of them has" if work.again == 1 else f"{work.again} of them have"
        report.say(f"{have} a transcript, but the file or an option has changed since")
    for paths, one, many, advice in _left_out(found):
        if paths:
            some = ", ".join(map(str, paths[:3])) + (", …" if len(paths) > 3 else "")
            says, them = (f"1 {one}", "it") if len(paths) == 1 else (f"{len(paths)} {many}", "them")
            report.say(f"{says} ({some}){advice.replace('them', them)}")
    for what, why in found.problems:
        report.name(what, why)
    return report


def _left_out(found: Found) -> Iterator[tuple[Sequence[object], str, str, str]]:
    """(items, text for one, text for several, advice) for everything that is skipped."""
    yield (
        found.skipped,
        "file is skipped because of its extension",
        "files are skipped because of their extension",
        "; --all-files includes them",
    )
    yield (
        found.hidden,
        "hidden file or folder is skipped",
        "hidden files or folders are skipped",
        "; to include them, list them as inputs",
    )
    yield (
        found.ours,
        "file is skipped because this program wrote it",
        "files are skipped because this program wrote them",
        "",
    )
    yield found.again, "link leads to files", "links lead to files", " that are already included"
    yield found.comments, "line of a manifest is a comment", "lines of manifests are comments", ""


@dataclass(frozen=True, slots=True)
class Standing:
    """What is wrong with the recordings after a run, including problems from earlier runs."""

    failures: dict[str, str]
    """Reasons by name."""
    incomplete: dict[str, str]
    """Reasons by name, for transcripts with missing parts."""
    rejected: int
    """Number of failed recordings that later runs skip."""


def standing(report: Report, recordings: list[Recording], journal: Journal) -> Standing:
    """The state of `recordings` at the end of a run. The journal must be open."""
    failures = {**dict(journal.failures(recordings)), **report.failures}
    entries = map(journal.entry, recordings)
    rejected = sum(1 for entry in entries if entry and entry.error and entry.is_final)
    return Standing(failures, dict(journal.incomplete(recordings)), rejected)


def summarize(report: Report, work: Plan, end: Standing, output: Path) -> int:
    """Report how the run ended; return how many recordings are left."""
    left = len(work.pending) - report.transcribed - report.failed
    if work.pending:
        report.say(report.line())
    # Those of this run were reported when they failed.
    earlier = {name: why for name, why in end.failures.items() if name not in report.failures}
    _list(report, "failed earlier", earlier)
    if end.rejected:
        rejected = "recording" if end.rejected == 1 else "recordings"
        report.say(
            f"later runs skip {end.rejected} rejected {rejected}, unless you pass --retry-failed"
        )
    _list(report, "incomplete", end.incomplete)
    if any(UNCLEAR in reasons.split(",") for reasons in end.incomplete.values()):
        report.say(f"{UNCLEAR}: {UNCLEAR_HINT}")
    if end.incomplete:
        count = len(end.incomplete)
        what = "1 transcript is" if count == 1 else f"{count} transcripts are"
        report.say(f"{what} incomplete (see `missing` in transcripts.jsonl)")
    later = f", {len(work.later)} for later runs" if work.later else ""
    report.say(
        f"{report.transcribed} transcribed ({report.copied} as copies of another), "
        f"{len(end.failures)} failed, {left} left{later}, {len(work.before)} done before; "
        f"transcripts in {output}"
    )
    return left


def _list(report: Report, what: str, reasons: dict[str, str]) -> None:
    for name, reason in list(reasons.items())[:NAMED]:
        report.say(f"{what}: {name}: {reason}")
    if len(reasons) > NAMED:
        report.say(f"… and {len(reasons) - NAMED} more: see transcripts.jsonl")


def _size(path: Path) -> int:
    try:
        return path.stat().st_size
    except OSError:
        return 0  # its own upload will report the error
