"""The error tree. Every message says what, which value, which limit, and what to do."""

from __future__ import annotations

__all__ = [
    "ArtefactError",
    "ConfigurationError",
    "DataError",
    "FilterError",
    "HoldfastError",
    "NotEnoughDataError",
    "StorageFullError",
    "TimeError",
    "UnavailableError",
]


class HoldfastError(Exception):
    """Anything that Holdfast refuses. `code` is stable and machine readable; `exit_code` is the shell's.

    The message never carries personal data: a customer id, an e-mail address or a submitted value.
    """

    code = "error"
    exit_code = 1


class ConfigurationError(HoldfastError):
    """A setting, mapping or command line is wrong; the message names the key and what to write instead."""

    code = "configuration"
    exit_code = 2


class DataError(HoldfastError):
    """Input data cannot be used; the message names the table, the field and the reason."""

    code = "data"
    exit_code = 3


class TimeError(DataError):
    """A time is naive, unreadable or out of range."""

    code = "time"


class FilterError(DataError):
    """An expression over item attributes cannot be read or does not fit the catalogue.

    `position` is the character, counted from 1, at which reading stopped; `expected` is what could have stood there.
    """

    code = "filter"

    def __init__(self, message: str, position: int, expected: str) -> None:
        super().__init__(message)
        self.position = position
        self.expected = expected


class NotEnoughDataError(DataError):
    """There are too few rows, customers or outcomes; the message gives both numbers."""

    code = "not_enough_data"
    exit_code = 4


class ArtefactError(HoldfastError):
    """A release, model file or log is missing, truncated, altered, or made for something else."""

    code = "artefact"
    exit_code = 5


class UnavailableError(HoldfastError):
    """A database, port or file is locked or gone for now; trying again later can succeed."""

    code = "unavailable"
    exit_code = 6


class StorageFullError(UnavailableError):
    """A disk is full: nothing was kept, and trying again succeeds once somebody has made room."""

    code = "storage_full"
