"""Logging that includes the id of the current request."""

import json
import logging
from contextvars import ContextVar
from datetime import UTC, datetime

REQUEST_ID: ContextVar[str] = ContextVar("request_id", default="-")
"""Id of the current request; also set in threads started for it."""

TEXT_FORMAT = "%(asctime)s %(levelname)s [%(request_id)s] %(name)s: %(message)s"
MIN_LEVELS = {
    "httpx2": logging.WARNING,  # one line for each request to the engine
    "uvicorn.error": logging.INFO,  # at DEBUG it logs WebSocket headers and frames: keys and words
}
"""Minimum level of these loggers, whatever level is configured."""


def configure_logging(level: str, log_format: str) -> None:
    """Log messages of `level` and above to stderr, as `text` or as `json`."""
    handler = logging.StreamHandler()
    handler.addFilter(_add_request_id)
    handler.setFormatter(
        JsonFormatter() if log_format == "json" else logging.Formatter(TEXT_FORMAT)
    )
    logging.basicConfig(level=level, handlers=[handler])
    configured = logging.getLevelNamesMapping()[level]
    for name, minimum in MIN_LEVELS.items():
        logging.getLogger(name).setLevel(max(minimum, configured))


class JsonFormatter(logging.Formatter):
    """One JSON object per line: time (ISO 8601, UTC), level, logger, request_id, message and, if
    any, exception."""

    def format(self, record: logging.LogRecord) -> str:
        line = {
            "time": datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds"),
            "level": record.levelname,
            "logger": record.name,
            "request_id": getattr(record, "request_id", REQUEST_ID.get()),
            "message": record.getMessage(),
        }
        if record.exc_info:
            line["exception"] = self.formatException(record.exc_info)
        return json.dumps(line, ensure_ascii=False)


def _add_request_id(record: logging.LogRecord) -> bool:
    record.request_id = REQUEST_ID.get()
    return True
