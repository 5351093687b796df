"""Which release answers a customer: a sticky hash, the same in every process and after every restart."""

from __future__ import annotations

import hashlib
from typing import Literal

__all__ = ["Arm", "arm_of", "bucket"]

Arm = Literal["champion", "challenger"]


def bucket(salt: str, customer_key: str) -> float:
    """A customer's place in [0, 1): the first 8 bytes of sha256(salt, NUL, customer) over 2^64.

    Another salt gives an independent place, so two rollouts do not share their customers.

    >>> 0.0 <= bucket("spring", "k1:00") < 1.0
    True
    >>> bucket("spring", "k1:00") == bucket("spring", "k1:00")
    True
    """
    digest = hashlib.sha256(f"{salt}\0{customer_key}".encode()).digest()
    return int.from_bytes(digest[:8], "big") / 2.0**64


def arm_of(salt: str, share: float, customer_key: str) -> Arm:
    """The arm of a customer: the challenger for places in [0, share), the champion for the rest.

    Raising the share only moves customers from the champion to the challenger; nobody goes back.

    >>> arm_of("spring", 0.0, "k1:00"), arm_of("spring", 1.0, "k1:00")
    ('champion', 'challenger')
    """
    return "challenger" if bucket(salt, customer_key) < share else "champion"
