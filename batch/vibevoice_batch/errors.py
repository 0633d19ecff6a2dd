"""What ends a run before it begins, a recording, or a run."""


class InputError(ValueError):
    """What was given on the command line cannot be used; the message says why."""


class Failure(Exception):
    """A recording has no transcript, and asking again now would not help."""

    def __init__(self, message: str, status: int | None = None, code: str | None = None) -> None:
        super().__init__(message)
        self.status = status
        self.code = code


class Busy(Exception):
    """The server cannot take the recording now, but later: it is full, starting, or not there."""

    def __init__(self, message: str, retry_after: float | None, is_full: bool) -> None:
        super().__init__(message)
        self.retry_after = retry_after
        """Seconds that the server asked for."""
        self.is_full = is_full


class ConnectionLost(Exception):
    """The connection broke on the way: a server that was restarted, or died of the recording."""


class Refused(Exception):
    """The server refuses whatever is sent to it in this way: a wrong key, URL or model."""


class GaveUp(Exception):
    """The server took nothing for too long; what is left is left for the next run."""
