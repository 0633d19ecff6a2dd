"""The worker's end of the pipe to the proxy; `worker_process` is the proxy's end."""

import logging
import os
import signal
import sys
import threading
from queue import SimpleQueue
from typing import BinaryIO

from vibevoice_core.messages import Message, read_message

logger = logging.getLogger(__name__)


def open_pipe() -> BinaryIO:
    """Return the pipe for messages: the standard output, to which nothing else writes from now on.
    Sets up logging to standard error."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C goes to the proxy, which closes our input
    logging.basicConfig(
        level=logging.INFO, format="%(asctime)s %(levelname)s %(name)s: %(message)s"
    )
    pipe = os.fdopen(os.dup(1), "wb", buffering=0)
    os.dup2(2, 1)
    return pipe


def read_commands(commands: SimpleQueue[Message]) -> None:
    """Read the proxy's messages into `commands` in a thread; exit the process at the end of the
    input."""
    threading.Thread(target=_read, args=(commands,), daemon=True).start()


def _read(commands: SimpleQueue[Message]) -> None:
    try:
        while (message := read_message(sys.stdin.buffer)) is not None:
            commands.put(message)
    except Exception:
        logger.exception("the proxy sent an invalid message")
        os._exit(1)
    os._exit(0)  # the proxy has exited
