"""Starts the proxy: python -m vibevoice_proxy."""

import logging
import sys

import uvicorn
from pydantic import ValidationError

from vibevoice_proxy.app import create_app
from vibevoice_proxy.settings import Settings

logger = logging.getLogger("vibevoice_proxy")


def main() -> None:
    """Serves until told to stop. Settings come from the environment, then from `.env`."""
    try:
        settings = Settings(_env_file=".env")  # type: ignore[call-arg]
    except ValidationError as error:
        sys.exit(f"The settings are wrong: {error}")
    logging.basicConfig(
        level=settings.log_level, format="%(asctime)s %(levelname)s %(name)s: %(message)s"
    )
    logging.getLogger("httpx2").setLevel(logging.WARNING)
    logger.info("engine expected at %s", settings.asr_url)
    uvicorn.run(
        create_app(settings),
        host=settings.api_host,
        port=settings.api_port,
        log_config=None,
        timeout_graceful_shutdown=30,
    )


if __name__ == "__main__":
    main()
