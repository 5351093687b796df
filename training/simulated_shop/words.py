"""What customers write in reviews: short English sentences whose sentiment agrees with the stars."""

from __future__ import annotations

import numpy as np

from training.simulated_shop.arrays import Flags, Ints

__all__ = ["SENTENCES", "sentence_codes"]

_OPENINGS: tuple[tuple[str, ...], ...] = (
    ("Very disappointed.", "A waste of money.", "Terrible.", "I will not buy this again.", "Awful quality."),
    ("Not what I hoped for.", "Rather poor.", "I expected more.", "Weak for the price.", "Not happy with it."),
    ("It is okay.", "Average.", "Does the job.", "Neither good nor bad.", "Fine, I suppose."),
    ("Good overall.", "I like it.", "Nice quality.", "Happy with this one.", "Good value."),
    ("Excellent!", "I love it.", "Perfect, thank you.", "My favourite so far.", "Could not be happier."),
)
_ABOUT_ITEM: tuple[tuple[str, ...], ...] = (
    ("It does not fit what I was looking for.", "It looked different in the pictures.", "It broke after two days."),
    ("The description promised something else.", "It feels cheap.", "It is not my taste."),
    ("Nothing special about it.", "The packaging could be better.", "It is what one would expect."),
    ("It works well.", "It matches the description.", "I would buy it again."),
    ("Exactly what I wanted.", "The quality is outstanding.", "I recommend it to everyone."),
)
_ABOUT_LATE: tuple[tuple[str, ...], ...] = (
    ("And it arrived days late.", "The delivery was far too late."),
    ("The parcel came late.", "I waited too long for it."),
    ("It came later than promised.", "Delivery took its time."),
    ("Only the delivery was late.", "It was late, but worth it."),
    ("Even though it arrived late.", "The delay is forgiven."),
)
_PER_STAR = len(_OPENINGS[0]) * (len(_ABOUT_ITEM[0]) + len(_ABOUT_LATE[0]))

SENTENCES: tuple[str, ...] = tuple(
    f"{opening} {ending}"
    for star in range(5)
    for opening in _OPENINGS[star]
    for ending in _ABOUT_ITEM[star] + _ABOUT_LATE[star]
)
"""Every review that can be written; a block of 25 a star, five endings an opening, the last two about lateness."""


def sentence_codes(stars: Ints, was_late: Flags, rng: np.random.Generator) -> Ints:
    """Rows of SENTENCES for reviews of 1 to 5 stars, (n,); a late delivery is often mentioned."""
    n = len(stars)
    opening = rng.integers(0, len(_OPENINGS[0]), n)
    mention = was_late & (rng.random(n) < 0.7)
    ending = np.where(mention, 3 + rng.integers(0, 2, n), rng.integers(0, 3, n))
    return np.asarray((stars - 1) * _PER_STAR + opening * 5 + ending, dtype=np.int64)
