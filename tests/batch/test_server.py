"""URLs, keys, proxies, and certificates are used, or rejected before anything is sent."""

import re
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.support.batch_client import Batch
from tests.support.processes import nobody
from tests.support.transcribing import Uploads, transcribing
from tests.support.ways import Certificate, ForwardProxy, certificate, tls


@pytest.fixture
def url(uploads: Uploads) -> Iterator[str]:
    """The server's URL."""
    with transcribing(uploads) as url:
        yield url


@pytest.fixture
def recording(tmp_path: Path) -> Path:
    """A recording."""
    (tmp_path / "a.wav").write_bytes(b"a")
    return tmp_path / "a.wav"


@pytest.fixture
def batch(tmp_path: Path, url: str) -> Batch:
    """The client for the server."""
    return Batch(tmp_path / "out", url)


@pytest.mark.parametrize(
    "base",
    ["{}", "{}/", "{}/v1", "{}/v1/", " {}/v1\n", "{}/v1/audio/transcriptions", "{}/v1?a=b#c"],
)
def test_a_base_url_may_be_spelled_in_many_ways(
    batch: Batch, uploads: Uploads, recording: Path, base: str
) -> None:
    """All spellings refer to the same server."""
    code, said = batch.run(recording, "--base-url", base.format(batch.url))

    assert code == 0, said
    query = "?a=b" if "?" in base else ""
    assert uploads.urls == [f"{batch.url}/v1/audio/transcriptions{query}"]


def test_a_base_url_may_be_an_ipv6_address(tmp_path: Path, recording: Path) -> None:
    """The address is contacted; since nothing listens there, the message contains it."""
    port = nobody().rpartition(":")[2]
    batch = Batch(tmp_path / "out", f"http://[::1]:{port}")

    code, said = batch.run(recording, "--patience", "0.1")

    assert code == 1
    assert re.search(rf"cannot be reached at http://\[::1\]:{port}: \w+", said), said


@pytest.mark.parametrize(
    ("environ", "reason"),
    [
        pytest.param({"VIBEVOICE_BASE_URL": ""}, "the base URL is empty", id="no-url"),
        pytest.param({"VIBEVOICE_BASE_URL": "  "}, "the base URL is empty", id="blank-url"),
        pytest.param({"VIBEVOICE_BASE_URL": "http://a b/v1"}, "expected a URL like", id="blank"),
        pytest.param({"VIBEVOICE_BASE_URL": "h:1/v1"}, "expected a URL like", id="no-scheme"),
        pytest.param({"VIBEVOICE_BASE_URL": "ftp://h/v1"}, "expected a URL like", id="scheme"),
        pytest.param({"VIBEVOICE_BASE_URL": "http://::1:8/"}, "base URL is invalid", id="ipv6"),
        pytest.param({"VIBEVOICE_BASE_URL": "http://h:70000"}, "not a port number", id="port"),
        pytest.param({"VIBEVOICE_API_KEY": ""}, "VIBEVOICE_API_KEY is empty", id="no-key"),
        pytest.param({"VIBEVOICE_API_KEY": " \n"}, "VIBEVOICE_API_KEY is empty", id="blank-key"),
        pytest.param({"VIBEVOICE_API_KEY": "s1\ns2"}, "its character 3 is", id="two-lines"),
        pytest.param({"VIBEVOICE_API_KEY": "clé"}, "its character 3 is", id="accent"),
        pytest.param({"HTTP_PROXY": "ftp://h:1"}, "HTTP_PROXY specifies a proxy ftp://h", id="ftp"),
        pytest.param({"ALL_PROXY": "socks4://h:1"}, "proxy socks4://h", id="socks4"),
        pytest.param({"HTTP_PROXY": "http://h:x"}, "HTTP_PROXY is invalid", id="proxy-port"),
        pytest.param({"SSL_CERT_FILE": "/no/such"}, "SSL_CERT_FILE or SSL_CERT_DIR", id="no-certs"),
    ],
)
def test_what_cannot_be_used_is_told_at_the_start(
    batch: Batch, uploads: Uploads, recording: Path, environ: dict[str, str], reason: str
) -> None:
    """The usage error says what was expected; nothing is sent or written, and no key is shown."""
    code, said = batch.run(recording, environ=environ)

    assert (code, reason in said) == (2, True), said
    assert len(said.splitlines()) == 1
    assert not any(key in said for key in ("s1", "s2", "cl"))
    assert (uploads.names, batch.output.exists()) == ([], False)


@pytest.mark.parametrize(
    ("key", "advice"),
    [
        (None, "set VIBEVOICE_API_KEY"),
        ("guessed", "VIBEVOICE_API_KEY is not valid for this server"),
    ],
)
def test_a_wrong_or_missing_key_ends_the_run(
    batch: Batch, uploads: Uploads, tmp_path: Path, recording: Path, key: str | None, advice: str
) -> None:
    """The message says what to set, and there is a summary. A trailing line break is removed."""
    (tmp_path / "b.wav").write_bytes(b"b")
    uploads.key = "secret"

    code, said = batch.run(tmp_path, environ={"VIBEVOICE_API_KEY": key} if key else {})

    assert (code, "returned 401: Wrong key." in said, advice in said) == (1, True, True), said
    assert "0 transcribed (0 as copies of another), 0 failed, 2 left" in said
    assert batch.run(recording, VIBEVOICE_API_KEY="secret\n")[0] == 0


def test_a_password_in_the_url_is_not_shown(tmp_path: Path, uploads: Uploads) -> None:
    """The password does not appear in error messages either."""
    (tmp_path / "a.wav").write_bytes(b"a")
    uploads.key = "secret"
    with transcribing(uploads) as url:
        batch = Batch(tmp_path / "out", url.replace("//", "//user:hidden@"))
        code, said = batch.run(tmp_path / "a.wav")

    assert (code, "returned 401" in said, "hidden" in said) == (1, True, False), said


@pytest.mark.parametrize("variable", ["HTTP_PROXY", "http_proxy", "ALL_PROXY", "all_proxy"])
def test_a_proxy_is_used(batch: Batch, uploads: Uploads, recording: Path, variable: str) -> None:
    """The proxy is used whichever variable specifies it, with the name and password in its URL."""
    with ForwardProxy(login="me:p@ss") as proxy:
        way = proxy.url.replace("//", "//me:p%40ss@")
        code, said = batch.run(recording, environ={variable: way})

    assert code == 0, said
    assert proxy.asked == [f"POST {batch.url}/v1/audio/transcriptions"]
    assert uploads.contents == [b"a"]


@pytest.mark.parametrize(
    ("no_proxy", "is_direct"),
    [
        ("127.0.0.1", True),
        ("example.com, 127.0.0.1:{port}", True),
        ("127.0.0.0/8", True),
        ("*", True),
        ("127.0.0.1:1", False),
        ("example.com,0.0.1", False),
        ("", False),
    ],
)
def test_no_proxy_names_what_is_asked_directly(
    batch: Batch, recording: Path, no_proxy: str, is_direct: bool
) -> None:
    """NO_PROXY supports addresses, networks, ports, and `*`."""
    port = batch.url.rpartition(":")[2]
    with ForwardProxy() as proxy:
        code, said = batch.run(recording, HTTP_PROXY=proxy.url, NO_PROXY=no_proxy.format(port=port))

    assert (code, not proxy.asked) == (0, is_direct), said


@pytest.mark.parametrize(
    ("login", "refusal", "scheme", "reason"),
    [
        pytest.param("me:x", None, "http", "returned 407", id="login"),
        pytest.param("me:x", None, "https", "requires a login: set HTTP_PROXY or", id="login-tls"),
        pytest.param(None, "403 Forbidden", "https", "refuses 127.0.0.1: 403 Forbidden", id="ban"),
    ],
)
def test_a_proxy_that_refuses_ends_the_run(
    tmp_path: Path,
    recording: Path,
    login: str | None,
    refusal: str | None,
    scheme: str,
    reason: str,
) -> None:
    """The run ends immediately; the message names the proxy without its password."""
    batch = Batch(tmp_path / "out", f"{scheme}://127.0.0.1:9")
    with ForwardProxy(login, refusal) as proxy:
        way = proxy.url.replace("//", "//me:hidden@")
        code, said = batch.run(recording, HTTP_PROXY=way, HTTPS_PROXY=way)

    assert (code, reason in said, "hidden" in said) == (1, True, False), said
    assert len(proxy.asked) == 1


def test_a_proxy_that_is_not_there_is_named(batch: Batch, recording: Path) -> None:
    """An unreachable proxy is retried, like a server."""
    way = nobody()

    code, said = batch.run(recording, "--patience", "0.1", HTTP_PROXY=way)

    assert code == 1
    assert f"through the proxy {way}: Connection refused" in said


@pytest.fixture(scope="module")
def signed(tmp_path_factory: pytest.TempPathFactory) -> Certificate:
    """A certificate for this machine from an unknown issuer."""
    return certificate(tmp_path_factory.mktemp("tls"), "DNS:localhost", "IP:127.0.0.1")


@pytest.mark.parametrize("by_proxy", [False, True])
def test_a_certificate_that_is_not_trusted_ends_the_run(
    batch: Batch, uploads: Uploads, recording: Path, signed: Certificate, by_proxy: bool
) -> None:
    """The run ends immediately; the message has OpenSSL's reason and the setting that helps."""
    with tls(batch.url, signed) as url, ForwardProxy() as proxy:
        secure = Batch(batch.output, url)
        environ = {"HTTPS_PROXY": proxy.url} if by_proxy else {}
        code, said = secure.run(recording, environ=environ)
        assert "Retrying" not in said
        assert (code, "self-signed certificate" in said) == (1, True), said
        assert all(way in said for way in (url, "--ca-file FILE", "SSL_CERT_FILE"))
        assert uploads.names == []

        code, said = secure.run(recording, "--ca-file", signed.cert, environ=environ)
        assert (code, "1 transcribed" in said) == (0, True), said
        (recording.parent / "b.wav").write_bytes(b"b")
        assert secure.run(recording.parent, SSL_CERT_FILE=str(signed.cert), environ=environ)[0] == 0

    assert uploads.contents == [b"a", b"b"]
    assert len(proxy.asked) == (3 if by_proxy else 0)


def test_a_certificate_for_another_host_ends_the_run(
    batch: Batch, recording: Path, tmp_path: Path
) -> None:
    """The message includes the host name that does not match."""
    (tmp_path / "tls").mkdir()
    other = certificate(tmp_path / "tls", "DNS:asr.example.com")
    with tls(batch.url, other) as url:
        code, said = Batch(batch.output, url).run(recording, "--ca-file", other.cert)

    assert (code, "not valid for '127.0.0.1'" in said) == (1, True), said


@pytest.mark.parametrize("content", [None, "", "no certificate"])
def test_a_file_without_certificates_is_told(
    batch: Batch, recording: Path, tmp_path: Path, content: str | None
) -> None:
    """A file without certificates is a usage error."""
    if content is not None:
        (tmp_path / "ca.pem").write_text(content)

    code, said = batch.run(recording, "--ca-file", tmp_path / "ca.pem")

    assert code == 2
    assert re.search(r"--ca-file \S+ (contains no certificates|cannot be read: No such)", said), (
        said
    )


def test_the_wrong_scheme_is_told(batch: Batch, recording: Path, signed: Certificate) -> None:
    """TLS with a server that does not support it ends the run."""
    code, said = Batch(batch.output, batch.url.replace("http:", "https:")).run(recording)

    assert (code, "should it be http://?" in said) == (1, True), said
    assert "Retrying" not in said
