"""How a log line is made: structlog's processors, its renderer, and the standard library's log led there too."""

from __future__ import annotations

import logging
from datetime import UTC, datetime
from typing import Literal, Protocol, cast

import orjson
import structlog
from structlog.typing import EventDict, FilteringBoundLogger, Processor, WrappedLogger

from proxy.edges.scrub import mask_library_text, scrub

LEVELS = {"debug": logging.DEBUG, "info": logging.INFO, "warning": logging.WARNING, "error": logging.ERROR}


class ByteStream(Protocol):
    """Where lines go: in the program a LogWriter, so that a stalled reader stalls nobody."""

    def write(self, data: bytes, /) -> object: ...

    def flush(self) -> None: ...


class _Lines:
    """structlog's innermost logger: takes rendered lines. A lock is left out because one `write` takes a whole line."""

    def __init__(self, stream: ByteStream) -> None:
        self._write = stream.write
        self._flush = stream.flush

    def msg(self, line: bytes) -> None:
        """Write one line; a reader that has gone is not the caller's trouble."""
        try:
            self._write(line)
            self._flush()
        except (OSError, ValueError):
            return

    debug = info = warning = error = critical = exception = msg


def configure(
    level: Literal["debug", "info", "warning", "error"],
    format: Literal["json", "console"],  # noqa: A002 - the word config.yaml has for it
    stream: ByteStream,
) -> FilteringBoundLogger:
    """The program's logger; the standard library's warnings and errors go to the same stream."""
    wrapped = structlog.wrap_logger(
        _Lines(stream),
        processors=[scrub, _json] if format == "json" else [scrub, *_console()],
        wrapper_class=structlog.make_filtering_bound_logger(LEVELS[level]),
        context_class=dict,
        cache_logger_on_first_use=True,
    )
    logger = cast("FilteringBoundLogger", wrapped.bind())  # bound once: the lazy proxy costs as much as a line
    _lead_standard_log_to(logger)
    return logger


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="milliseconds")


def _json(_: WrappedLogger, level: str, event_dict: EventDict) -> bytes:
    """The renderer: one JSON object, time and event first, where a reader looks for them."""
    head = {"timestamp": _now(), "level": level, "event": event_dict.pop("event")}
    return orjson.dumps({**head, **event_dict}, default=str, option=_JSON)


_JSON = orjson.OPT_APPEND_NEWLINE | orjson.OPT_NON_STR_KEYS


def _console() -> list[Processor]:
    return [
        structlog.processors.add_log_level,
        structlog.processors.TimeStamper(fmt="%H:%M:%S", utc=False),
        structlog.dev.ConsoleRenderer(colors=False, exception_formatter=structlog.dev.plain_traceback),
        _encoded,
    ]


def _encoded(_: WrappedLogger, __: str, line: object) -> bytes:
    return f"{line}\n".encode("utf-8", "backslashreplace")


class _StandardLog(logging.Handler):
    """Leads one library's record to our log, as `library.message`."""

    def __init__(self, logger: FilteringBoundLogger) -> None:
        super().__init__(logging.WARNING)
        self._log = logger

    def emit(self, record: logging.LogRecord) -> None:
        """Log the record; a record that cannot even be formatted is dropped, as a log may not break its caller."""
        try:
            say = self._log.warning if record.levelno < logging.ERROR else self._log.error
            fields = {"logger": record.name, "message": mask_library_text(record.getMessage())}
            if record.exc_info:
                fields["error"] = mask_library_text(_FORMATTER.formatException(record.exc_info))
            say("library.message", **fields)
        except Exception:  # noqa: BLE001 - see above
            return


_FORMATTER = logging.Formatter()


def _lead_standard_log_to(logger: FilteringBoundLogger) -> None:
    root = logging.getLogger()
    for handler in root.handlers[:]:
        if isinstance(handler, _StandardLog):
            root.removeHandler(handler)
    root.addHandler(_StandardLog(logger))
    root.setLevel(logging.WARNING)
