"""Code blocks that the tests of this folder cannot run, each with the reason."""

ELSEWHERE = {
    "docs/guides/light.md#1": "tests/light/test_recognizer.py makes the same calls",
    "docs/guides/live.md#2": "tests/live/test_documented.py runs it",
    "docs/guides/live.md#3": "tests/live/test_documented.py runs it",
    "docs/guides/live.md#4": "tests/live/test_documented.py runs it",
    "docs/guides/voice-calls.md#1": "tests/realtime/test_calls.py runs it",
    "docs/guides/open-webui.md#1": "tests/deploy/test_docker.py compares it with the container's",
    "docs/guides/open-webui.md#3": "tests/deploy/test_open_webui_call.py starts Open WebUI with it",
    "docs/reference/realtime.md#1": "tests/live/test_documented.py compares it with a session",
}
"""Blocks that another test runs or compares."""

NOT_RUN = {
    "docs/guides/voice-cloning.md#1": "needs the weights of the 1.5B model",
    "docs/guides/voice-cloning.md#2": "needs the weights of the 1.5B model",
    "docs/guides/voice-cloning.md#3": "needs the weights of the 1.5B model",
    "docs/guides/speakers.md#4": "needs the id of an enrolled speaker",
}
"""Blocks that need a server, and are only checked: syntax, programs, options, routes."""

ILLUSTRATIONS = {
    "docs/background/how-it-works.md#1": "a picture",
    "docs/guides/batch.md#3": "a line of progress, with figures of another day",
}
"""Output that no test reproduces."""
