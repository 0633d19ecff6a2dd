"""Addresses of servers on this machine."""

import pytest

from vibevoice_core.addresses import local_url


@pytest.mark.parametrize(
    ("host", "url"),
    [
        ("", "http://127.0.0.1:80"),
        ("0.0.0.0", "http://127.0.0.1:80"),
        ("::", "http://127.0.0.1:80"),
        ("192.0.2.7", "http://192.0.2.7:80"),
        ("::1", "http://[::1]:80"),
    ],
)
def test_an_address_of_this_machine(host: str, url: str) -> None:
    """A server that listens on one address only is reached there."""
    assert local_url(host, 80) == url
