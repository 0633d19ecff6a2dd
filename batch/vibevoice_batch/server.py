"""Connection settings: the server's URL, API key, proxy, and trusted certificates."""

import ipaddress
import ssl
from collections.abc import Mapping
from importlib.util import find_spec
from pathlib import Path

import httpx2

from vibevoice_batch.errors import InputError

DEFAULT_URL = "http://127.0.0.1:8899/v1"
ENDPOINT = "/audio/transcriptions"
START = "start it with `make serve` or `vibevoice-proxy`, or set --base-url"
"""What to do if no server can be reached."""
UNCLEAR = "unclear"
"""Why a part is missing: the light recognizer heard speech, but no clear words."""
UNCLEAR_HINT = "speech without clear words; by default, the light recognizer only supports English"
_EXAMPLE = f"expected a URL like {DEFAULT_URL}"


def endpoint(base_url: str, path: str = ENDPOINT) -> httpx2.URL:
    """The URL of `path` at a server. A base URL without a path gets OpenAI's /v1.

    Raises InputError if it is not a valid http(s) URL.
    """
    base_url = base_url.strip()
    if not base_url:
        raise InputError(f"the base URL is empty: {_EXAMPLE}")
    try:
        url = httpx2.URL(base_url)
    except (httpx2.InvalidURL, UnicodeError) as error:
        raise InputError(f"the base URL is invalid: {error}; {_EXAMPLE}") from error
    if url.scheme not in ("http", "https") or not url.host or " " in base_url:
        raise InputError(f"{_EXAMPLE}, got {shown(url)!r}")
    if url.port is not None and url.port > 65535:
        raise InputError(f"the base URL is invalid: {url.port} is not a port number")
    base = url.path.rstrip("/").removesuffix(path) or "/v1"
    return url.copy_with(path=base + path, fragment=None)


def authorization(api_key: str | None, url: httpx2.URL) -> dict[str, str]:
    """The header with the API key; no header without a key.

    Raises InputError if a header cannot contain the key, or the URL has credentials too.
    """
    if api_key is None:
        return {}
    key = api_key.strip()
    if not key:
        raise InputError("VIBEVOICE_API_KEY is empty: set it to the server's key, or unset it")
    for number, character in enumerate(key, 1):
        if not " " <= character <= "~":
            raise InputError(
                f"VIBEVOICE_API_KEY cannot be sent: its character {number} is not printable ASCII"
            )
    if url.userinfo:
        raise InputError(
            "the base URL contains credentials and VIBEVOICE_API_KEY is set: only one can be sent"
        )
    return {"authorization": f"Bearer {key}"}


def trust(ca_file: Path | None) -> ssl.SSLContext:
    """The certificates to trust: the system's, or those of SSL_CERT_FILE or SSL_CERT_DIR, plus
    those in `ca_file` (PEM).

    Raises InputError if a file contains none.
    """
    try:
        context = httpx2.create_ssl_context()
    except OSError as error:
        raise InputError(
            f"SSL_CERT_FILE or SSL_CERT_DIR contains no certificates: {error.strerror or error}"
        ) from error
    if ca_file:
        try:
            context.load_verify_locations(cafile=ca_file)
        except ssl.SSLError as error:
            raise InputError(f"--ca-file {ca_file} contains no certificates (PEM)") from error
        except OSError as error:
            raise InputError(f"--ca-file {ca_file} cannot be read: {error.strerror}") from error
    return context


def proxy(
    url: httpx2.URL, proxies: Mapping[str, str], context: ssl.SSLContext
) -> httpx2.Proxy | None:
    """The proxy to use for a URL.

    Args:
        proxies: as returned by urllib.request.getproxies() for HTTP_PROXY, HTTPS_PROXY, ALL_PROXY,
            and NO_PROXY: by scheme, `all`, or `no`.
        context: for a proxy that is reached over TLS.

    Raises InputError if the proxy cannot be used.
    """
    scheme = url.scheme if proxies.get(url.scheme) else "all"
    given = proxies.get(scheme, "").strip()
    if not given or _goes_directly(url, proxies.get("no", "")):
        return None
    name = f"{scheme.upper()}_PROXY"
    try:
        way = httpx2.URL(given if "://" in given else f"http://{given}")
    except (httpx2.InvalidURL, UnicodeError) as error:
        raise InputError(f"{name} is invalid: {error}") from error
    if way.scheme not in ("http", "https", "socks5", "socks5h") or not way.host:
        raise InputError(
            f"{name} specifies a proxy {way.scheme}://{way.host}: expected http://, https://, or "
            "socks5://; unset it to connect directly"
        )
    if way.scheme.startswith("socks") and not find_spec("socksio"):
        raise InputError(
            f"{name} specifies a SOCKS proxy, but socksio is not installed: pip install socksio, "
            "or unset it to connect directly"
        )
    return httpx2.Proxy(way, ssl_context=context if way.scheme == "https" else None)


def _goes_directly(url: httpx2.URL, no_proxy: str) -> bool:
    """Whether NO_PROXY contains the host: by name, domain, address, or network, with or without a
    port, or as `*`."""
    names = [name.lower() for name in no_proxy.replace(",", " ").split()]
    return any(name == "*" or _names(name, url) for name in names)


def _names(name: str, url: httpx2.URL) -> bool:
    host, port = name, None
    if name.count(":") == 1 or "]:" in name:
        host, _, port = name.rpartition(":")
    default = 443 if url.scheme == "https" else 80
    if port and port != str(url.port or default):
        return False
    host = host.strip("[]").removeprefix("*").lstrip(".")
    try:
        address = ipaddress.ip_address(url.host)
    except ValueError:
        return bool(host) and f".{url.host}".endswith(f".{host}")
    try:
        return address in ipaddress.ip_network(host, strict=False)
    except ValueError:
        return False


def shown(url: httpx2.URL) -> str:
    """The URL without its password."""
    return str(url.copy_with(userinfo=b"")) if url.userinfo else str(url)
