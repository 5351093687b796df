"""Words that the declarations of features share: windows in names and sentences, and what missing means."""

from __future__ import annotations

__all__ = ["NEVER", "NONE_YET", "ago", "span"]

NEVER = "never"
"""The value is always there."""

NONE_YET = "there was none"


def span(days: int | None) -> str:
    """A window as it stands last in a name.

    >>> span(90), span(None)
    ('90d', 'all')
    """
    return "all" if days is None else f"{days}d"


def ago(days: int | None) -> str:
    """A window in words.

    >>> ago(90), ago(None)
    ('in the last 90 days', 'ever')
    """
    return "ever" if days is None else f"in the last {days} days"
