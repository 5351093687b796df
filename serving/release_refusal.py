"""Why a release is not loaded: a reason for machines, which never changes its meaning, and a sentence for people."""

from __future__ import annotations

from typing import Literal

from features.errors import ArtefactError

__all__ = ["Refusal", "ReleaseRefusedError"]

Refusal = Literal[
    "absent",
    "unsigned",
    "unknown_key",
    "signature",
    "manifest",
    "format",
    "path",
    "missing_file",
    "extra_file",
    "size",
    "sha256",
    "fingerprint",
    "content",
    "golden",
    "name",
    "older",
    "unreadable",
]
"""In the order of the checks; `name`, `older` and `unreadable` are found where a release is about to be served."""


class ReleaseRefusedError(ArtefactError):
    """A release that cannot be loaded; `reason` is stable and machine readable."""

    def __init__(self, reason: Refusal, message: str) -> None:
        super().__init__(message)
        self.reason = reason
