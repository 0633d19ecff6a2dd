"""Errors that end a session early."""


class SourceError(Exception):
    """The audio cannot be read to its end; the message gives the reason."""


class SessionLost(Exception):
    """The server closed the session or the connection was lost; the message gives the reason."""
