"""What an operator sees: invalid settings at startup, addresses, and disk failures."""

import errno
import os
import re
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from urllib.parse import urlsplit

import httpx2
import pytest
from tests.support.fakes import TRANSCRIPTIONS, StartProxy
from tests.support.recordings import tone, wav

from vibevoice_proxy.errors import StorageError, StorageFull, storage_errors
from vibevoice_proxy.listening import open_sockets, url_of
from vibevoice_proxy.setting_checks import normalize_host
from vibevoice_proxy.settings import Settings

pytest_plugins = ("tests.support.proxy_fixtures",)

SECRET = "s3cret-key"


def environment(settings: dict[str, str]) -> dict[str, str]:
    """The environment for a separate proxy process."""
    return {**os.environ, "API_PORT": "0", "TTS_MODEL_TYPE": "off", **settings}


def refusal(tmp_path: Path, **settings: str) -> str:
    """The output of a proxy that fails to start."""
    process = subprocess.run(
        [sys.executable, "-m", "vibevoice_proxy"],
        env=environment(settings),
        capture_output=True,
        text=True,
        cwd=tmp_path,
        timeout=60,
    )
    assert process.returncode == 1, process.stderr
    assert "Traceback" not in process.stderr
    return process.stderr.splitlines()[-1]


@contextmanager
def started(tmp_path: Path, **settings: str) -> Iterator[str]:
    """The base URL of a separate proxy process."""
    process = subprocess.Popen(
        [sys.executable, "-m", "vibevoice_proxy"],
        env=environment(settings),
        stderr=subprocess.PIPE,
        text=True,
        cwd=tmp_path,
    )
    try:
        assert process.stderr is not None
        found = (re.search(r"running on (http://\S+)", line) for line in process.stderr)
        yield next(match[1] for match in found if match)
    finally:
        process.kill()
        process.communicate()


FOLDERS = [
    *("VIBEVOICE_SPOOL_DIR", "VIBEVOICE_TTS_VOICE_CACHE"),
    *("VIBEVOICE_VOICE_DIR", "VIBEVOICE_SPEAKER_DIR"),
]
UPLOADS = {"VIBEVOICE_VOICE_UPLOADS": "1", "VIBEVOICE_SPEAKER_ENROLLMENT": "1"}


@pytest.mark.parametrize("name", FOLDERS)
@pytest.mark.parametrize(
    ("place", "reason"),
    [
        pytest.param("a-file", "Not a directory|File exists", id="a file"),
        pytest.param("a-file/below", "Not a directory", id="below a file"),
        pytest.param("/proc/1/task", "No such file|Permission|not permitted", id="not writable"),
    ],
)
def test_a_folder_that_cannot_be_written_ends_the_start(
    place: str, reason: str, name: str, tmp_path: Path
) -> None:
    """The message names the setting and the reason."""
    (tmp_path / "a-file").touch()
    stores = {"VIBEVOICE_VOICE_DIR": "voices", "VIBEVOICE_SPEAKER_DIR": "speakers"}
    said = refusal(tmp_path, **{**UPLOADS, **stores, name: place})
    assert re.search(f"{name}: {place} .*({reason})", said)


def test_a_missing_spool_ends_the_start(tmp_path: Path) -> None:
    """The spool folder is not created: usually, a mount is missing."""
    said = refusal(tmp_path, VIBEVOICE_SPOOL_DIR="nowhere")
    assert "VIBEVOICE_SPOOL_DIR: nowhere" in said and "No such file" in said


def test_folders_that_fill_over_time_are_made(tmp_path: Path) -> None:
    """On the first start, there are no stored or converted voices yet. Only this user can read
    them."""
    settings = {
        "VIBEVOICE_VOICE_DIR": "a/voices",
        "VIBEVOICE_TTS_VOICE_CACHE": "a/cache",
        "VIBEVOICE_SPEAKER_DIR": "a/speakers",
    }
    with started(tmp_path, **UPLOADS, **settings):
        made = sorted((tmp_path / "a").iterdir())
        assert [path.name for path in made] == ["cache", "speakers", "voices"]
        assert {path.stat().st_mode & 0o777 for path in made} == {0o700}
        assert list((tmp_path / "a" / "cache").iterdir()) == []


@pytest.mark.parametrize(
    ("name", "value", "said"),
    [
        pytest.param("VIBEVOICE_API_KEYS", ",", "contains no key", id="a comma"),
        pytest.param("VIBEVOICE_API_KEYS", " ", "contains no key", id="a space"),
        pytest.param("VIBEVOICE_API_KEYS", " , ,", "contains no key", id="commas and spaces"),
        pytest.param("VIBEVOICE_API_KEYS", f"a,{SECRET} b", "key 2", id="a space inside"),
        pytest.param("VIBEVOICE_API_KEYS", f"{SECRET}é", "key 1", id="no ASCII"),
        pytest.param("VIBEVOICE_API_KEYS", f"{SECRET}\nx", "key 1", id="a line end"),
        pytest.param(
            "ASR_API_KEY", f"{SECRET}é", "not allowed in a header", id="key of the engine"
        ),
        pytest.param(
            "VIBEVOICE_TRANSLATE_API_KEY",
            f"{SECRET}\nx",
            "not allowed in a header",
            id="translator",
        ),
        pytest.param("API_HOST", "http://127.0.0.1", "expected an address", id="a URL"),
        pytest.param("API_HOST", "127.0.0.1:80", "expected an address", id="a port"),
        pytest.param("API_HOST", "300.1.1.1", "expected an address", id="no address"),
        pytest.param("API_HOST", "[::1", "expected an address", id="half a bracket"),
        pytest.param("API_HOST", "192.0.2.1", "Cannot assign", id="not of this machine"),
        pytest.param("API_HOST", "nobody.invalid", "API_HOST=nobody.invalid", id="unknown name"),
        pytest.param("API_PORT", "70000", "less than or equal", id="port"),
        pytest.param("VIBEVOICE_MAX_QUEUE", "-1", "greater than", id="number"),
        pytest.param("ASR_BASE_URL", "ftp://x", "URL", id="scheme"),
        pytest.param("VIBEVOICE_LOG_FORMAT", "xml", "'json'", id="choice"),
    ],
)
def test_a_wrong_setting_is_one_line_with_its_name(
    name: str, value: str, said: str, tmp_path: Path
) -> None:
    """The line has the environment variable and the reason, never the value of a secret."""
    line = refusal(tmp_path, **{name: value})
    assert name in line and said in line
    assert SECRET not in line


def test_every_wrong_setting_is_told(tmp_path: Path) -> None:
    """All invalid settings are reported at once."""
    process = subprocess.run(
        [sys.executable, "-m", "vibevoice_proxy"],
        env=environment({"API_PORT": "x", "VIBEVOICE_MAX_QUEUE": "x"}),
        capture_output=True,
        text=True,
        cwd=tmp_path,
        timeout=60,
    )
    names = [line.split(": ")[1] for line in process.stderr.splitlines()]
    assert names == ["API_PORT", "VIBEVOICE_MAX_QUEUE"]


@pytest.mark.parametrize(
    ("content", "said"),
    [
        pytest.param(b"good\nbad key\n", "line 2", id="a space inside"),
        pytest.param("# ours\n\nschl\u00fcssel\n".encode(), "line 3", id="no ASCII"),
        pytest.param("schl\u00fcssel".encode("utf-16"), "line 1", id="UTF-16"),
        pytest.param(b"\x00\xff", "line 1", id="binary"),
        pytest.param(b"# nothing\n \n", "contains no key", id="no key"),
    ],
)
def test_a_file_of_keys_is_read_at_the_start(content: bytes, said: str, tmp_path: Path) -> None:
    """The message names the setting and the line number, not the content."""
    (tmp_path / "keys").write_bytes(content)
    line = refusal(tmp_path, VIBEVOICE_API_KEYS_FILE="keys")
    assert line.startswith("Invalid settings: VIBEVOICE_API_KEYS_FILE: ") and said in line
    assert "bad" not in line and "schl" not in line


@pytest.mark.parametrize("place", ["nowhere", "."], ids=["missing", "a folder"])
def test_a_file_of_keys_that_cannot_be_read_ends_the_start(place: str, tmp_path: Path) -> None:
    """A server that should require keys does not start without any."""
    line = refusal(tmp_path, VIBEVOICE_API_KEYS_FILE=place)
    assert re.search(f"VIBEVOICE_API_KEYS_FILE: {re.escape(place)} cannot be read: ", line)


def test_an_address_in_use_is_told(tmp_path: Path) -> None:
    """One line names the settings."""
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = str(taken.getsockname()[1])
        line = refusal(tmp_path, API_PORT=port)
    assert f"API_HOST=127.0.0.1 API_PORT={port}" in line and "already in use" in line


@pytest.mark.parametrize(
    ("written", "taken"),
    [("[::1]", "::1"), ("[::]", "::"), (" ", ""), (" localhost ", "localhost"), ("a_b.c", "a_b.c")],
)
def test_hosts_are_normalized(written: str, taken: str) -> None:
    """Only URLs have brackets."""
    assert normalize_host(written) == taken
    assert Settings(api_host=written).api_host == taken  # type: ignore[call-arg]


HAS_IPV6 = socket.has_ipv6 and bool(
    Path("/proc/net/if_inet6").exists() and Path("/proc/net/if_inet6").read_text()
)
needs_ipv6 = pytest.mark.skipif(not HAS_IPV6, reason="no IPv6 here")


@pytest.mark.parametrize(
    ("host", "v4", "v6"),
    [
        pytest.param("", True, True, id="empty", marks=needs_ipv6),
        pytest.param("::", True, True, id="all of IPv6", marks=needs_ipv6),
        pytest.param("[::1]", False, True, id="brackets", marks=needs_ipv6),
        pytest.param("::1", False, True, id="loopback of IPv6", marks=needs_ipv6),
        pytest.param("0.0.0.0", True, False, id="all of IPv4"),
        pytest.param("127.0.0.1", True, False, id="loopback of IPv4"),
    ],
)
def test_each_host_is_listened_on(host: str, v4: bool, v6: bool) -> None:
    """Empty and `::` mean IPv4 and IPv6, on the same port."""
    found: list[bool] = []
    for _ in range(3):  # another server may listen at the same port of the other family
        opened = open_sockets(normalize_host(host), 0)
        try:
            (port,) = {listener.getsockname()[1] for listener in opened}
            found = [reaches("127.0.0.1", port), reaches("::1", port) if HAS_IPV6 else v6]
        finally:
            for listener in opened:
                listener.close()
        if found == [v4, v6]:
            return
    assert found == [v4, v6]


def reaches(host: str, port: int) -> bool:
    """Whether something listens at the address."""
    try:
        socket.create_connection((host, port), timeout=5).close()
    except ConnectionRefusedError:
        return False
    return True


@needs_ipv6
def test_a_proxy_on_all_addresses_answers(tmp_path: Path) -> None:
    """Responds over HTTP on IPv4 and IPv6."""
    with started(tmp_path, API_HOST="::") as url:
        port = urlsplit(url).port
        for host in ("127.0.0.1", "[::1]"):
            assert httpx2.get(f"http://{host}:{port}/health/live", timeout=60).status_code == 200


@needs_ipv6
def test_urls_have_brackets() -> None:
    """The log shows URLs that can be used."""
    (listener,) = open_sockets("::1", 0)
    with listener:
        assert url_of(listener) == f"http://[::1]:{listener.getsockname()[1]}"


@pytest.mark.parametrize(
    ("number", "kind"),
    [
        (errno.ENOSPC, StorageFull),
        (errno.EDQUOT, StorageFull),
        (errno.EFBIG, StorageFull),
        (errno.EROFS, StorageError),
        (errno.EACCES, StorageError),
        (errno.ENOENT, StorageError),
        (errno.EIO, StorageError),
        (errno.ESTALE, StorageError),
        (errno.EMFILE, StorageError),
    ],
    ids=str,
)
def test_errors_of_the_disk_are_told_apart(number: int, kind: type[StorageError]) -> None:
    """All disk errors are a 503; a full disk has its own message."""
    with pytest.raises(kind) as raised, storage_errors():
        raise OSError(number, "/secret/path")
    assert type(raised.value) is kind
    assert raised.value.status == 503
    assert "secret" not in str(raised.value)


def test_a_spool_that_goes_away_is_a_503(
    start_proxy: StartProxy, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """The reason is in the log but not in the response; requests that need no file still work."""
    spool = tmp_path / "spool"
    spool.mkdir()
    url = start_proxy(spool_dir=str(spool))
    spool.rmdir()
    answer = httpx2.post(url + TRANSCRIPTIONS, files={"file": ("a", wav(tone(120.0)))}, timeout=60)
    assert (answer.status_code, answer.json()["error"]["code"]) == (503, "storage_unavailable")
    assert int(answer.headers["retry-after"]) > 0
    assert str(spool) not in answer.text
    assert "No such file or directory" in caplog.text
    assert httpx2.get(f"{url}/health", timeout=60).status_code == 200
    short = httpx2.post(url + TRANSCRIPTIONS, files={"file": ("a", wav(tone(2.0)))}, timeout=60)
    assert short.status_code == 200
