"""Opens the sockets that the server listens on."""

import errno
import socket

BACKLOG = 2048
"""Maximum number of connections waiting to be accepted."""
_EVERYWHERE = ("", "::")
"""Hosts that mean all addresses, IPv4 and IPv6."""
_NO_SUCH_ADDRESS = (errno.EADDRNOTAVAIL, errno.EAFNOSUPPORT)


def open_sockets(host: str, port: int) -> list[socket.socket]:
    """Open one listening socket for each address of `host`, all at `port`, or at one free port if
    it is 0. Address families that this machine does not support are skipped.

    Raises ValueError, which names the settings, if no socket can be opened.
    """
    hosts = ("0.0.0.0", "::") if host in _EVERYWHERE else (host,)
    opened: list[socket.socket] = []
    missing: OSError | None = None
    try:
        for family, address in _addresses(hosts, port):
            if opened and not port:
                address = (address[0], opened[0].getsockname()[1], *address[2:])
            try:
                opened.append(_open(family, address))
            except OSError as error:
                if error.errno not in _NO_SUCH_ADDRESS:
                    raise
                missing = error
        if missing is not None and not opened:
            raise missing
    except OSError as error:
        for one in opened:
            one.close()
        where = f"API_HOST={host} API_PORT={port}"
        raise ValueError(f"{where}: cannot listen: {error.strerror}") from error
    return opened


def url_of(listener: socket.socket) -> str:
    """The base URL of a listening socket."""
    host, port = listener.getsockname()[:2]
    return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"


def _addresses(hosts: tuple[str, ...], port: int) -> list[tuple[int, tuple]]:
    found = [
        (family, address)
        for host in hosts
        for family, *_, address in socket.getaddrinfo(
            host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        )
    ]
    return list(dict.fromkeys(found))


def _open(family: int, address: tuple) -> socket.socket:
    listener = socket.socket(family, socket.SOCK_STREAM)
    try:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if family == socket.AF_INET6:
            listener.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
        listener.bind(address)
        listener.listen(BACKLOG)
    except BaseException:
        listener.close()
        raise
    return listener
