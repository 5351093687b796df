"""What happened in the open, in the sparse form from which the oracle replays every customer's condition."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np

from training.simulated_shop.arrays import Floats, Ints

__all__ = ["History", "Stream"]


@dataclass(frozen=True)
class Stream:
    """Rows of (day, customer row, code, amounts), by day."""

    day: Ints
    row: Ints
    code: Ints
    amounts: Floats
    """(n, 2); the meaning depends on the stream."""

    def on(self, day: int) -> slice:
        """The rows of one day."""
        start, stop = np.searchsorted(self.day, [day, day + 1])
        return slice(int(start), int(stop))


@dataclass
class History:
    """Collects one stream while the days go by."""

    days: list[Ints] = field(default_factory=list)
    rows: list[Ints] = field(default_factory=list)
    codes: list[Ints] = field(default_factory=list)
    amounts: list[Floats] = field(default_factory=list)

    def add(
        self, day: int, rows: Ints, code: Ints | int = 0, first: Floats | float = 0.0, second: Floats | float = 0.0
    ) -> None:
        """Append rows of one day."""
        n = len(rows)
        if n == 0:
            return
        self.days.append(np.full(n, day, dtype=np.int64))
        self.rows.append(rows.astype(np.int64))
        self.codes.append(np.broadcast_to(np.asarray(code, dtype=np.int64), (n,)).copy())
        pair = [np.broadcast_to(np.asarray(x, dtype=np.float64), (n,)) for x in (first, second)]
        self.amounts.append(np.stack(pair, axis=1))

    def stream(self) -> Stream:
        """All that was added."""
        if not self.days:
            nothing = np.zeros(0, dtype=np.int64)
            return Stream(nothing, nothing, nothing, np.zeros((0, 2)))
        return Stream(
            np.concatenate(self.days),
            np.concatenate(self.rows),
            np.concatenate(self.codes),
            np.concatenate(self.amounts),
        )
