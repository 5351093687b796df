"""Which release answers a customer: a sticky hash, the same in every process and after every restart.

A rollout draws a line from 0 to 1, on which its salt gives each customer a place. The challenger has the places from 0
up to its share, and outcomes are compared with a control slice of equal size from the other end: no customer of either
slice ever changes to the other, however the share widens up to a half. A persistent hold-out, placed by a salt of its
own, is left out of every rollout. `docs/assignment_vectors.json` holds places and arms to check other code against.
"""

from __future__ import annotations

import hashlib
from typing import Literal

__all__ = [
    "HOLDOUT_SALT",
    "HOLDOUT_SHARE",
    "Arm",
    "Side",
    "Slice",
    "arm_of",
    "bucket",
    "in_holdout",
    "placed_arm",
    "slice_of",
]

Side = Literal["champion", "challenger"]
"""Which of the two releases answers."""

Arm = Literal["champion", "control", "challenger", "holdout"]
"""Whose answers an answer counts among. The challenger answers its arm alone, the champion the others: the control
slice that the challenger is compared with, the hold-out, and everybody else."""

Slice = Literal["challenger", "control", "holdout", "uncompared"]
"""Whose outcomes a customer's count among: the two that are compared, the hold-out, or nobody's."""

HOLDOUT_SALT = "holdfast:holdout"
"""Never changed: a new salt would be a new hold-out, and the old one's customers would be treated."""

HOLDOUT_SHARE = 0.05
"""Of all customers, where nothing else is set."""

_LAST_PLACE = 1.0 - 2.0**-53
"""Where the division would round up to 1."""


def bucket(salt: str, customer_key: str) -> float:
    """A customer's place in [0, 1): the first 8 bytes of sha256(salt, NUL, customer) over 2^64.

    Another salt gives an independent place, so two rollouts do not share their customers.

    >>> 0.0 <= bucket("spring", "k1:00") < 1.0
    True
    >>> bucket("spring", "k1:00") == bucket("spring", "k1:00")
    True
    """
    digest = hashlib.sha256(f"{salt}\0{customer_key}".encode()).digest()
    return min(int.from_bytes(digest[:8], "big") / 2.0**64, _LAST_PLACE)


def in_holdout(customer_key: str, holdout_share: float = HOLDOUT_SHARE) -> bool:
    """Whether a customer is kept out of every rollout: the places in [0, holdout_share) by the fixed salt.

    Widening the share keeps everybody who is in; it is meant to be set once.

    >>> in_holdout("k1:00", 0.0), in_holdout("k1:00", 1.0)
    (False, True)
    """
    return holdout_share > 0.0 and bucket(HOLDOUT_SALT, customer_key) < holdout_share


def arm_of(salt: str, share: float, customer_key: str, holdout_share: float = 0.0) -> Side:
    """The release of a customer: the challenger for places in [0, share), the champion for the rest and the hold-out.

    `share` is of the customers outside the hold-out. Raising it only moves customers from the champion to the
    challenger; nobody goes back.

    >>> arm_of("spring", 0.0, "k1:00"), arm_of("spring", 1.0, "k1:00"), arm_of("spring", 1.0, "k1:00", 1.0)
    ('champion', 'challenger', 'champion')
    """
    if bucket(salt, customer_key) >= share or in_holdout(customer_key, holdout_share):
        return "champion"
    return "challenger"


def placed_arm(salt: str, share: float, customer_key: str, holdout_share: float = 0.0) -> Arm:
    """The arm of a customer: the challenger in [0, share), the control in [1 - m, 1) with `m = min(share, 1 - share)`.

    Up to a share of 1/2 both are equally large and only grow; beyond it the control is all that the challenger leaves.

    >>> [placed_arm("spring", share, "k1:00") for share in (0.0, 1.0)], placed_arm("spring", 1.0, "k1:00", 1.0)
    (['champion', 'challenger'], 'holdout')
    """
    if in_holdout(customer_key, holdout_share):
        return "holdout"
    place = bucket(salt, customer_key)
    if place < share:
        return "challenger"
    return "control" if place >= 1.0 - min(share, 1.0 - share) else "champion"


def slice_of(salt: str, share: float, customer_key: str, holdout_share: float) -> Slice:
    """The slice that a customer's outcomes count in: the challenger's in [0, m), the control in [1 - m, 1).

    With `m = min(share, 1 - share)` both are equally large in expectation, so a customer of either is on the challenger
    with probability 1/2. Up to a share of 1/2 they only grow. Beyond it they shrink from the middle, as customers of
    the control get the challenger, and at 1 nothing is left to compare with but the hold-out.

    >>> [slice_of("spring", share, "k1:00", holdout) for share, holdout in ((0.5, 1.0), (0.0, 0.0), (1.0, 0.0))]
    ['holdout', 'uncompared', 'uncompared']
    """
    place, compared = bucket(salt, customer_key), min(share, 1.0 - share)
    if in_holdout(customer_key, holdout_share):
        return "holdout"
    if place < compared:
        return "challenger"
    return "control" if place >= 1.0 - compared else "uncompared"
