"""The command line: `vibevoice-transcribe`."""

import argparse
import asyncio
import logging
import os
import signal
import sys
from contextlib import AbstractAsyncContextManager, AbstractContextManager, nullcontext
from pathlib import Path
from typing import Any

from vibevoice_batch.arguments import DEFAULT_MODEL, parser
from vibevoice_batch.client import Client
from vibevoice_batch.errors import GaveUp, InputError, Refused
from vibevoice_batch.inputs import find
from vibevoice_batch.journal import Journal, JournalError
from vibevoice_batch.limit import Limit
from vibevoice_batch.manifests import Manifest, check_field, parse
from vibevoice_batch.products import Products
from vibevoice_batch.progress import Report, printable
from vibevoice_batch.recordings import Found, Recording
from vibevoice_batch.run import Ask, Run
from vibevoice_batch.run_batch import Results, check_requests, write_requests
from vibevoice_batch.server import DEFAULT_URL
from vibevoice_batch.speakers import FIELD, KnownSpeakers, read_speakers
from vibevoice_batch.store import Store
from vibevoice_batch.summary import Plan, announce, plan, standing, summarize

ALL_DONE, SOME_FAILED, USAGE, INTERRUPTED = 0, 1, 2, 130
"""Exit codes; the last is the one that shells use for SIGINT."""
CONTINUE = "Run the same command again to continue."
CORRECT = "Correct this, then run the command again to continue."
"""If the server rejects every request, rerunning the same command would fail again."""


def main(arguments: list[str] | None = None) -> int:
    """Run the command line and return its exit code."""
    given = sys.argv[1:] if arguments is None else arguments
    command = given[0] if given and given[0] in ("write-batch", "read-batch") else ""
    # Intermixed, since files may come before or after options.
    given = given[1:] if command else given
    end = given.index("--") if "--" in given else len(given)
    options = parser(command).parse_intermixed_args(given[:end])
    options.input += given[end + 1 :]
    logging.basicConfig(format="%(message)s", level=logging.WARNING)
    try:
        _check(options)
        if command == "write-batch":
            check_requests(options.requests)
            return _write_batch(options, _find(options, {options.requests}))
        if command == "read-batch":
            results = Results(options.results)
            found = _find(options, set(options.results))
            return _transcribe(options, found, results.ask, nullcontext())
        known = read_speakers(options.speakers) if options.speakers else KnownSpeakers()
        found = _find(options, set(), _online_fields(options, known))
        client = _client(options, known)
        return _transcribe(options, found, client.transcribe, client)
    except (InputError, JournalError) as error:
        return _end(USAGE, str(error))
    except OSError as error:
        return _end(SOME_FAILED, f"{error.filename or options.output}: {error.strerror or error}")
    except KeyboardInterrupt:
        return INTERRUPTED


def _check(options: argparse.Namespace) -> None:
    """Check the options that do not depend on the inputs. Raises InputError."""
    if not options.input and not options.manifest:
        raise InputError("no input: give files, folders, globs, or - for a manifest on stdin")
    try:
        output = options.output.absolute()
    except FileNotFoundError as error:
        raise InputError("the working directory no longer exists") from error
    there = next(path for path in (output, *output.parents) if os.path.lexists(path))
    if not there.is_dir():
        raise InputError(f"--output {options.output}: {there} is not a folder")
    if options.base and not options.base.is_dir():
        raise InputError(f"--base {options.base} is not a folder")
    for key in ("language", "prompt", "hotwords", "model"):
        check_field(key, getattr(options, key, None), f"--{key}")


def _client(options: argparse.Namespace, known: KnownSpeakers) -> Client:
    """Raises InputError."""
    url, environ = options.base_url, os.environ
    if url is None:
        url = environ.get("VIBEVOICE_BASE_URL", DEFAULT_URL)
    api_key = environ.get("VIBEVOICE_API_KEY")
    return Client(url, api_key, options.model, options.timeout, options.ca_file, known)


def _online_fields(options: argparse.Namespace, known: KnownSpeakers) -> dict[str, Any]:
    """Fields that identify an online request, in addition to those that all commands have.
    `read-batch` does not know the model, so offline requests do not include it."""
    fields: dict[str, Any] = {}
    if known.digests:
        fields[FIELD] = dict(known.digests)
    if options.model != DEFAULT_MODEL:
        fields["model"] = options.model
    return fields


def _find(
    options: argparse.Namespace, files: set[Path], fields: dict[str, Any] | None = None
) -> Found:
    """Find the recordings in the inputs, except for `files`. In addition to the options, `fields`
    are sent with each recording. Raises InputError."""
    names = [*options.manifest, *("-" for given in options.input if given == "-")]
    defaults: dict[str, Any] = {
        key: value for key in ("language", "prompt", "hotwords") if (value := getattr(options, key))
    }
    return find(
        (given for given in options.input if given != "-"),
        map(_manifest, dict.fromkeys(names)),
        base=options.base,
        defaults={**defaults, **(fields or {})},
        all_files=options.all_files,
        products=Products(files),
    )


def _manifest(name: str) -> Manifest:
    """Raises InputError if it cannot be read."""
    try:
        with open(0 if name == "-" else name, "rb", closefd=name != "-") as file:
            data = file.read()
    except OSError as error:
        raise InputError(f"the manifest {name} cannot be read: {error.strerror}") from error
    folder = Path.cwd() if name == "-" else Path(name).absolute().parent
    return parse("stdin" if name == "-" else name, data, folder)


def _journal(options: argparse.Namespace) -> AbstractContextManager[Journal]:
    journal = Journal(options.output)
    # A dry run does not create a folder.
    is_new = options.dry_run and not journal.path.exists()
    return nullcontext(journal) if is_new else journal


def _plan(options: argparse.Namespace, found: Found, journal: Journal) -> Plan:
    return plan(found.recordings, journal, limit=options.limit, retry_failed=options.retry_failed)


def _transcribe(
    options: argparse.Namespace, found: Found, ask: Ask, server: AbstractAsyncContextManager[Any]
) -> int:
    """Transcribe with `ask`, which works while `server` is open. Raises JournalError, and OSError
    if the journal cannot be read or created."""
    ended, advice = "", CONTINUE
    with _journal(options) as journal:
        work = _plan(options, found, journal)
        report = announce(found, work)
        if options.dry_run:
            return _dry_run(work, report)
        store = Store(journal, options.output, options.format)
        interrupted = False
        try:
            for name, why in store.restore(found.recordings):
                report.name(name, why)
            patience = getattr(options, "patience", 0)
            limit = Limit(getattr(options, "concurrency", None))
            run = Run(ask, journal, store, report, limit, patience)
            interrupted = asyncio.run(_until_stopped(run, server, work.pending, report))
        except Refused as error:
            ended, advice = str(error), CORRECT
        except GaveUp as error:
            ended = str(error)
        except OSError as error:
            ended = f"{error.filename or options.output}: {error.strerror or error}"
        journal.compact()
        end = standing(report, found.recordings, journal)
    left = summarize(report, work, end, options.output)
    if interrupted:
        if left:
            report.say(CONTINUE)
        return INTERRUPTED
    if ended:
        return _end(SOME_FAILED, ended, advice)
    return SOME_FAILED if end.failures or left else ALL_DONE


def _dry_run(work: Plan, report: Report) -> int:
    """Also reports files that a run could not read."""
    for recording in work.pending:
        try:
            recording.path.open("rb").close()
        except OSError as error:
            report.name(recording.name, f"cannot be read: {error.strerror}")
    return SOME_FAILED if report.failures else ALL_DONE


async def _until_stopped(
    run: Run,
    server: AbstractAsyncContextManager[Any],
    pending: list[Recording],
    report: Report,
) -> bool:
    """Run to the end; return whether a signal interrupted the run. The first signal waits for the
    requests in flight, the second cancels them."""
    interrupted = False
    task = asyncio.ensure_future(run.over(pending))

    def interrupt() -> None:
        nonlocal interrupted
        if interrupted:
            task.cancel()
            return
        interrupted = True
        if run.asking:
            requests = "1 request" if run.asking == 1 else f"{run.asking} requests"
            report.say(f"Waiting for {requests} in flight; interrupt again to stop now.")
        run.stop()

    loop = asyncio.get_running_loop()
    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, interrupt)
    try:
        async with server:
            with report:
                await task
    except asyncio.CancelledError:
        if not interrupted:
            raise
    return interrupted


def _write_batch(options: argparse.Namespace, found: Found) -> int:
    with _journal(options) as journal:
        work = _plan(options, found, journal)
    report = announce(found, work)
    if options.dry_run:
        return _dry_run(work, report)
    written = write_requests(work.pending, options.model, options.penalties, options.requests)
    for name, message in written.unreadable:
        report.name(name, message)
    report.say(
        f"{written.count} requests ({written.size / 1e6:.1f} MB) in {options.requests}, "
        f"{len(report.failures)} failed, {len(work.before)} done before"
    )
    return SOME_FAILED if report.failures else ALL_DONE


def _end(code: int, *lines: str) -> int:
    for number, line in enumerate(lines):
        print(printable(line if number else f"vibevoice-transcribe: {line}"), file=sys.stderr)
    return code
