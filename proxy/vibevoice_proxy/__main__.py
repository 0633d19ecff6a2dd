"""Starts the proxy: `vibevoice-proxy`, or python -m vibevoice_proxy."""

import argparse
import logging
import os
import sys
import textwrap

from dotenv import dotenv_values
from pydantic import ValidationError

from vibevoice_core.distribution import add_version_option
from vibevoice_proxy.allocator import return_large_blocks
from vibevoice_proxy.app import create_app
from vibevoice_proxy.logs import configure_logging
from vibevoice_proxy.server import serve
from vibevoice_proxy.setting_warnings import warnings
from vibevoice_proxy.settings import Settings
from vibevoice_proxy.settings_table import describe_settings
from vibevoice_proxy.startup import check_folders, describe_errors

logger = logging.getLogger("vibevoice_proxy")


def main() -> None:
    """Run the server until it is stopped. Settings come from the environment, then from `.env`."""
    parser = argparse.ArgumentParser(
        prog="vibevoice-proxy",
        description="Serve the OpenAI audio API.",
        epilog=_settings_help(),
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    add_version_option(parser)
    parser.parse_args()
    try:
        settings = Settings(_env_file=".env")  # type: ignore[call-arg]
    except ValidationError as error:
        sys.exit(describe_errors(error))
    except (OSError, UnicodeError) as error:
        sys.exit(f"Invalid settings: .env in the current folder cannot be read: {error}")
    return_large_blocks()
    configure_logging(settings.log_level, settings.log_format)
    try:
        check_folders(settings)
        app = create_app(settings)
    except ValueError as error:
        sys.exit(f"Invalid settings: {error}")
    for warning in warnings(settings, [*os.environ, *dotenv_values(".env")]):
        logger.warning(warning)
    if settings.asr_api != "off":
        logger.info("engine expected at %s", settings.asr_url)
    serve(app, settings)


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
