"""Starts the proxy: python -m vibevoice_proxy."""

import argparse
import logging
import sys
import textwrap

import uvicorn
from pydantic import ValidationError

from vibevoice_proxy.app import create_app
from vibevoice_proxy.http_protocol import HttpProtocol
from vibevoice_proxy.logs import configure_logging
from vibevoice_proxy.settings import Settings, describe_settings

logger = logging.getLogger("vibevoice_proxy")


def main() -> None:
    """Serve until told to stop. Settings come from the environment, then from `.env`."""
    argparse.ArgumentParser(
        prog="python -m vibevoice_proxy",
        description="Serve the OpenAI audio API.",
        epilog=_settings_help(),
        formatter_class=argparse.RawDescriptionHelpFormatter,
    ).parse_args()
    try:
        settings = Settings(_env_file=".env")  # type: ignore[call-arg]
    except ValidationError as error:
        sys.exit(f"Invalid settings: {error}")
    configure_logging(settings.log_level, settings.log_format)
    try:
        app = create_app(settings)
    except (OSError, ValueError) as error:
        sys.exit(f"The API keys cannot be read: {error}")
    logger.info("engine expected at %s", settings.asr_url)
    uvicorn.run(
        app,
        host=settings.api_host,
        port=settings.api_port,
        http=HttpProtocol,
        log_config=None,
        access_log=False,
        timeout_graceful_shutdown=settings.shutdown_grace,
    )


def _settings_help() -> str:
    lines = ["Settings, read from the environment and from .env in the current folder:"]
    for name, default, description in describe_settings():
        lines += ["", f"{name}={default}"]
        lines += textwrap.wrap(
            " ".join(description.split()), 78, initial_indent="    ", subsequent_indent="    "
        )
    return "\n".join(lines)


if __name__ == "__main__":
    main()
