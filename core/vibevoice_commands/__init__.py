"""The commands that the distribution installs; see `[project.scripts]` in pyproject.toml.

Each one imports its packages only when it runs, so that every command can say which extra it
needs. Functions return an exit code.
"""

from vibevoice_core.distribution import needs_extra


def proxy() -> int:
    """`vibevoice-proxy`: the OpenAI audio API."""
    with needs_extra("vibevoice-proxy", "proxy"):
        from vibevoice_proxy.__main__ import main

        main()
    return 0


def engine() -> int:
    """`vibevoice-engine`: vLLM with VibeVoice-ASR."""
    with needs_extra("vibevoice-engine", "engine"):
        from vibevoice_vllm.launch import main

        return main()


def prepare() -> int:
    """`vibevoice-prepare`: a published checkpoint → a folder that the engine can serve."""
    with needs_extra("vibevoice-prepare", "engine"):
        from vibevoice_vllm.prepare import main

        return main()


def run_batch() -> int:
    """`vibevoice-run-batch`: vLLM's run-batch with VibeVoice-ASR."""
    with needs_extra("vibevoice-run-batch", "engine"):
        from vibevoice_vllm.run_batch import main

        return main()


def light_models() -> int:
    """`vibevoice-light-models`: downloads the light recognizer's model."""
    with needs_extra("vibevoice-light-models", "proxy"):
        from vibevoice_light.fetch import main

        return main()


def transcribe() -> int:
    """`vibevoice-transcribe`: the batch client."""
    with needs_extra("vibevoice-transcribe", "batch"):
        from vibevoice_batch.cli import main

        return main()


def live() -> int:
    """`vibevoice-live`: live captions."""
    with needs_extra("vibevoice-live", "live"):
        from vibevoice_live.cli import main

        return main()
