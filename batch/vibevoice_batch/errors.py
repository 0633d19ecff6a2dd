"""Errors that prevent a run, fail one recording, or end a run."""


class InputError(ValueError):
    """A command-line input is invalid. The message says why."""


class Failure(Exception):
    """A recording has no transcript, and a retry now would not help."""

    def __init__(self, message: str, status: int | None = None, code: str | None = None) -> None:
        super().__init__(message)
        self.status = status
        self.code = code


class Busy(Exception):
    """The server cannot take the recording now: it is full, starting, or unavailable."""

    def __init__(self, message: str, retry_after: float | None, is_full: bool) -> None:
        super().__init__(message)
        self.retry_after = retry_after
        """The delay in seconds that the server requested."""
        self.is_full = is_full


class ConnectionLost(Exception):
    """The connection broke: the server was restarted, or crashed on the recording."""


class Refused(Exception):
    """The server rejects every request: the key, URL, or model is wrong."""


class GaveUp(Exception):
    """The server accepted nothing for too long. The remaining recordings are left for the next
    run."""
