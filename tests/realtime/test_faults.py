"""Garbage, random events, lost workers, clients that leave: the session or the server goes on."""

from tests.support.real_voices import Spoken

Talk = tuple[bytes, list[Spoken]]
