"""Starts the proxy: python -m vibevoice_proxy."""

import logging
import sys

import uvicorn
from pydantic import ValidationError

from vibevoice_proxy.app import create_app
from vibevoice_proxy.logs import configure_logging
from vibevoice_proxy.settings import Settings

logger = logging.getLogger("vibevoice_proxy")


def main() -> None:
    """Serves until told to stop. Settings come from the environment, then from `.env`."""
    try:
        settings = Settings(_env_file=".env")  # type: ignore[call-arg]
    except ValidationError as error:
        sys.exit(f"The settings are wrong: {error}")
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
        log_config=None,
        access_log=False,
        timeout_graceful_shutdown=settings.shutdown_grace,
    )


if __name__ == "__main__":
    main()
