"""The command line: `vibevoice-transcribe`."""

import argparse
import asyncio
import logging
import os
import signal
import sys
from collections.abc import Iterable
from contextlib import AbstractContextManager, ExitStack, nullcontext
from pathlib import Path
from typing import Any

from vibevoice_batch.arguments import parser
from vibevoice_batch.client import Client, Refused
from vibevoice_batch.journal import Journal, JournalError
from vibevoice_batch.limit import Limit
from vibevoice_batch.progress import Report
from vibevoice_batch.recordings import Found, InputError, Recording, find
from vibevoice_batch.run import Ask, GaveUp, Run, restore
from vibevoice_batch.run_batch import Results, write_requests

ALL_DONE, SOME_FAILED, USAGE, INTERRUPTED = 0, 1, 2, 130
"""Exit codes; the last is the shell's for SIGINT."""
NAMED = 20
"""Failures that the summary names; the journal has all."""


def main(arguments: list[str] | None = None) -> int:
    """Run the command line; returns its exit code."""
    given = sys.argv[1:] if arguments is None else arguments
    command = given[0] if given and given[0] in ("write-batch", "read-batch") else ""
    options = parser(command, os.environ).parse_args(given[1:] if command else given)
    logging.basicConfig(format="%(message)s", level=logging.WARNING)
    try:
        found = _find(options)
        if command == "write-batch":
            return _write_batch(options, found)
        return _transcribe(options, found, read_batch=command == "read-batch")
    except (InputError, JournalError) as error:
        return _end(USAGE, str(error))
    except (Refused, GaveUp) as error:
        return _end(SOME_FAILED, f"{error}\nRun the same command again to go on.")
    except OSError as error:
        return _end(SOME_FAILED, f"{error.filename or options.output}: {error.strerror}")
    except KeyboardInterrupt:
        return INTERRUPTED


def _find(options: argparse.Namespace) -> Found:
    """Raises InputError; OSError: a manifest cannot be read."""
    names = [*options.manifest, *("-" for given in options.input if given == "-")]
    if not options.input and not names:
        raise InputError("no input: give files, folders, globs, or - for a manifest on stdin")
    with ExitStack() as files:
        manifests: list[tuple[str, Iterable[str]]] = []
        for name in names:
            # File names may be no UTF-8.
            source = 0 if name == "-" else name
            file = open(source, encoding="utf-8", errors="surrogateescape", closefd=source != 0)
            manifests.append((name, files.enter_context(file)))
        defaults = {
            key: value
            for key in ("language", "prompt", "hotwords")
            if (value := getattr(options, key))
        }
        return find(
            (given for given in options.input if given != "-"),
            manifests,
            base=options.base,
            defaults=defaults,
            all_files=options.all_files,
            without=options.output.absolute(),
        )


def _journal(options: argparse.Namespace) -> AbstractContextManager[Journal]:
    journal = Journal(options.output)
    # A dry run makes no folder.
    is_new = options.dry_run and not journal.path.exists()
    return nullcontext(journal) if is_new else journal


def _pending(
    options: argparse.Namespace, recordings: list[Recording], journal: Journal
) -> list[Recording]:
    """Those that have no transcript and were not refused."""
    pending = []
    for recording in recordings:
        entry = journal.entry(recording)
        if entry is None or not entry.is_final or (entry.error and options.retry_failed):
            pending.append(recording)
    return pending[: options.limit]


def _transcribe(options: argparse.Namespace, found: Found, read_batch: bool) -> int:
    with _journal(options) as journal:
        pending = _pending(options, found.recordings, journal)
        report = _announce(found, pending)
        if options.dry_run:
            return ALL_DONE
        restore(found.recordings, journal, report, options.output, options.format)
        if read_batch:
            run = _run(options, journal, report, Results(options.results).ask, patience=0)
            interrupted = asyncio.run(_until_stopped(run, pending, report))
        else:
            interrupted = asyncio.run(_online(options, journal, report, pending))
        journal.compact()
        failures = journal.failures(found.recordings)
        left = sum(journal.entry(recording) is None for recording in pending)
    _summarise(report, failures, left, options.output)
    if interrupted:
        return INTERRUPTED
    return SOME_FAILED if failures or left or report.failed else ALL_DONE


async def _online(
    options: argparse.Namespace, journal: Journal, report: Report, pending: list[Recording]
) -> bool:
    api_key = os.environ.get("VIBEVOICE_API_KEY", "").strip()
    async with Client(options.base_url, api_key, options.model, options.timeout) as client:

        async def ask(recording: Recording, _: str) -> dict[str, Any]:
            return await client.transcribe(recording)

        run = _run(options, journal, report, ask, options.patience)
        return await _until_stopped(run, pending, report)


def _run(
    options: argparse.Namespace, journal: Journal, report: Report, ask: Ask, patience: float
) -> Run:
    limit = Limit(getattr(options, "concurrency", None))
    return Run(ask, journal, report, limit, options.output, options.format, patience)


async def _until_stopped(run: Run, pending: list[Recording], report: Report) -> bool:
    """Run to the end; returns whether a signal ended it. The first waits for what the server works
    on, the second does not."""
    interrupted = False
    task = asyncio.ensure_future(run.over(pending))

    def interrupt() -> None:
        nonlocal interrupted
        if interrupted:
            task.cancel()
            return
        interrupted = True
        report.say("Waiting for what is being transcribed; interrupt again to leave it.")
        run.stop()

    loop = asyncio.get_running_loop()
    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, interrupt)
    try:
        with report:
            await task
    except asyncio.CancelledError:
        if not interrupted:
            raise
    return interrupted


def _announce(found: Found, pending: list[Recording]) -> Report:
    """Says what there is to do; returns the report to go on with."""
    size = sum(_size(recording.path) for recording in pending)
    report = Report(len(pending), size)
    report.say(f"{len(found.recordings)} recordings, {len(pending)} to do ({size / 1e6:.1f} MB)")
    if found.skipped:
        some = ", ".join(map(str, found.skipped[:3])) + (", …" if len(found.skipped) > 3 else "")
        report.say(
            f"{len(found.skipped)} files are no recordings by their extension ({some}); "
            "--all-files takes them"
        )
    return report


def _summarise(report: Report, failures: list[tuple[str, str]], left: int, output: Path) -> None:
    report.say(report.line())
    for name, message in failures[:NAMED]:
        report.say(f"failed: {name}: {message}")
    if len(failures) > NAMED:
        report.say(f"… and {len(failures) - NAMED} more: see transcripts.jsonl")
    if report.truncated:
        report.say(f"{report.truncated} transcripts miss a part (see `truncated` in them)")
    report.say(
        f"{report.transcribed} transcribed ({report.copied} as copies of another), "
        f"{len(failures)} failed, {left} left; transcripts in {output}"
    )


def _write_batch(options: argparse.Namespace, found: Found) -> int:
    with _journal(options) as journal:
        pending = _pending(options, found.recordings, journal)
    report = _announce(found, pending)
    if options.dry_run:
        return ALL_DONE
    written = write_requests(pending, options.model, options.requests)
    for name, message in written.unreadable:
        report.say(f"failed: {name}: {message}")
    report.say(f"{written.count} requests ({written.size / 1e6:.1f} MB) in {options.requests}")
    return SOME_FAILED if written.unreadable else ALL_DONE


def _size(path: Path) -> int:
    try:
        return path.stat().st_size
    except OSError:
        return 0  # said when it is its turn


def _end(code: int, message: str) -> int:
    print(f"vibevoice-transcribe: {message}", file=sys.stderr)
    return code
