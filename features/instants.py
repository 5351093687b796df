"""Instants: UTC int64 microseconds inside, aware ISO-8601 at the edges. A naive time is refused."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

from features.errors import TimeError

__all__ = ["DAY_US", "HOUR_US", "MINUTE_US", "SECOND_US", "format_instant", "parse_instant"]

SECOND_US = 1_000_000
MINUTE_US = 60 * SECOND_US
HOUR_US = 60 * MINUTE_US
DAY_US = 24 * HOUR_US

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MICROSECOND = timedelta(microseconds=1)


def parse_instant(text: str) -> int:
    """Microseconds since 1970-01-01T00:00:00Z of an ISO-8601 instant that carries an offset.

    Raises:
        TimeError: the text is not ISO-8601, or has no offset.

    >>> parse_instant("1970-01-01T01:00:00.5+01:00")
    500000
    >>> parse_instant("2010-12-01T08:26:00")
    Traceback (most recent call last):
    ...
    features.errors.TimeError: a time has no offset; write one, such as 2010-12-01T08:26:00Z or +01:00
    """
    try:
        moment = datetime.fromisoformat(text)
    except ValueError:
        raise TimeError(
            "a time is not ISO-8601; write it like 2010-12-01T08:26:00Z or 2010-12-01T08:26:00+01:00"
        ) from None
    if moment.tzinfo is None:
        raise TimeError("a time has no offset; write one, such as 2010-12-01T08:26:00Z or +01:00")
    return (moment - _EPOCH) // _MICROSECOND


def format_instant(instant_us: int) -> str:
    """The ISO-8601 form, in UTC, of an instant in microseconds.

    >>> format_instant(1291191960000000)
    '2010-12-01T08:26:00Z'
    """
    return (_EPOCH + instant_us * _MICROSECOND).isoformat().replace("+00:00", "Z")
