"""Settings of batch scoring."""

from __future__ import annotations

from dataclasses import dataclass

from features.errors import ConfigurationError

__all__ = ["ScoreSettings"]


@dataclass(frozen=True)
class ScoreSettings:
    """keep_books: how many books of scores stay in the workspace; readers of changes may lag behind by so many."""

    keep_books: int = 14

    def __post_init__(self) -> None:
        if self.keep_books < 2:
            raise ConfigurationError(
                f"setting scores.keep_books is {self.keep_books}; at least 2 are needed to tell who changed"
            )
