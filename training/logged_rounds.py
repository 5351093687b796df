"""What a policy showed, how likely that was, and what came of it; and what another policy would show instead."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt

from features.errors import ConfigurationError, DataError

__all__ = ["LoggedRounds", "NewPolicy", "by_item_and_position"]

Floats = npt.NDArray[np.float64]
Places = npt.NDArray[np.int64]
_ROUNDING = 1e-6


@dataclass(frozen=True, eq=False)
class LoggedRounds:
    """n rounds of a log: one row is one item really shown at one position.

    Attributes:
        n_items: how many items there are; places of items are [0, n_items).
        actions: int64 (n,), the item shown.
        positions: int64 (n,), where it was shown, 0 is the first.
        propensities: float64 (n,) in (0, 1], the probability with which the logging policy showed it there.
        rewards: float64 (n,), what came of it: 1.0 or 0.0 for a click, or any finite amount.
        contexts: float64 (n, f), what was known when it was shown; f may be 0.
        units: int64 (n,), whose rows are drawn, and held out, together: the customer or the list.
    """

    n_items: int
    actions: Places
    positions: Places
    propensities: Floats
    rewards: Floats
    contexts: Floats
    units: Places

    def __post_init__(self) -> None:
        n = self.actions.size
        shapes = {"actions": self.actions, "positions": self.positions, "propensities": self.propensities}
        shapes |= {"rewards": self.rewards, "units": self.units}
        for name, column in shapes.items():
            if column.shape != (n,):
                raise DataError(f"logged rounds: {name} has shape {column.shape}; give ({n},), a value a round")
        if self.contexts.ndim != 2 or self.contexts.shape[0] != n:
            raise DataError(f"logged rounds: contexts has shape {self.contexts.shape}; give ({n}, f), a row a round")
        if n and not (self.actions.min() >= 0 and self.actions.max() < self.n_items):
            raise DataError(f"logged rounds: actions lie outside [0, {self.n_items}); give places of items")
        if n and self.positions.min() < 0:
            raise DataError(f"logged rounds: position {self.positions.min()} is below 0, the first")
        if not np.all((self.propensities > 0.0) & (self.propensities <= 1.0)):
            raise DataError("logged rounds: a propensity is not in (0, 1]; leave rounds out whose chance is not known")
        if not np.isfinite(self.rewards).all():
            raise DataError("logged rounds: a reward is not a finite number; leave rounds out whose outcome is open")

    @property
    def n(self) -> int:
        """How many rounds."""
        return int(self.actions.size)

    @property
    def n_positions(self) -> int:
        """One more than the last position."""
        return int(self.positions.max()) + 1 if self.n else 0

    def select(self, rows: npt.NDArray[np.int64] | npt.NDArray[np.bool_]) -> LoggedRounds:
        """Some of the rounds: int64 places, or bool (n,)."""
        return LoggedRounds(
            self.n_items,
            self.actions[rows],
            self.positions[rows],
            self.propensities[rows],
            self.rewards[rows],
            self.contexts[rows],
            self.units[rows],
        )


@dataclass(frozen=True, eq=False)
class NewPolicy:
    """What a policy would show in each of n logged rounds, as ragged rows.

    Row r holds items[offsets[r]:offsets[r + 1]], no item twice, with the probability of each at the row's position;
    what is not held has none. Each row's probabilities sum to 1.

    Attributes:
        offsets: int64 (n + 1,).
        items: int64 (m,).
        probabilities: float64 (m,) in [0, 1].
    """

    offsets: Places
    items: Places
    probabilities: Floats

    def __post_init__(self) -> None:
        if self.n == 0:
            return
        if not np.all((self.probabilities >= 0.0) & (self.probabilities <= 1.0 + _ROUNDING)):
            raise DataError("new policy: a probability is not in [0, 1]")
        sums = np.bincount(self.rows, weights=self.probabilities, minlength=self.n)
        worst = int(np.abs(sums - 1.0).argmax())
        if abs(sums[worst] - 1.0) > _ROUNDING * max(1, self.items.size // self.n):
            raise DataError(f"new policy: the probabilities of round {worst} sum to {sums[worst]:.6f}, not to 1")

    @classmethod
    def by_position(cls, table: Floats, positions: Places) -> NewPolicy:
        """The same for everybody: table, float64 (positions, n_items), a distribution a position.

        >>> NewPolicy.by_position(np.array([[0.75, 0.25]]), np.array([0, 0])).of(np.array([1, 0]))
        array([0.25, 0.75])
        """
        if positions.size and int(positions.max()) >= table.shape[0]:
            raise ConfigurationError(
                f"new policy: the log has position {int(positions.max())}, the table {table.shape[0]} positions"
            )
        n, n_items = positions.size, table.shape[1]
        items = np.tile(np.arange(n_items, dtype=np.int64), n)
        return cls(np.arange(n + 1, dtype=np.int64) * n_items, items, table[positions].ravel())

    @classmethod
    def always(cls, items: Places) -> NewPolicy:
        """A ranking without chance: int64 (n,), the one item that it shows in each round."""
        return cls(np.arange(items.size + 1, dtype=np.int64), items.astype(np.int64), np.ones(items.size))

    @property
    def n(self) -> int:
        """Of how many rounds it speaks."""
        return int(self.offsets.size) - 1

    @property
    def rows(self) -> Places:
        """int64 (m,), the round of each held item."""
        return np.repeat(np.arange(self.n, dtype=np.int64), np.diff(self.offsets))

    def of(self, actions: Places) -> Floats:
        """float64 (n,), its probability of the item that each round really showed."""
        rows = self.rows
        same = self.items == actions[rows]
        found = np.bincount(rows[same], weights=self.probabilities[same], minlength=self.n)
        return found.astype(np.float64)

    def expected(self, values: Floats) -> Floats:
        """float64 (n,), the mean under each row's distribution of values, float64 (m,), given for every held item."""
        return np.bincount(self.rows, weights=self.probabilities * values, minlength=self.n).astype(np.float64)


def by_item_and_position(rounds: LoggedRounds) -> LoggedRounds:
    """The same rounds with the propensity of the item at the position, averaged over all rounds of that position.

    Right where the logging policy did not read what also moves the reward beside item and position: a policy without
    context whose own chances drift, as Thompson sampling does while it learns. Then averaged chances weigh the same
    rewards with far smaller weights, because an item's rare hour is no longer paid for a hundredfold. It is wrong where
    the policy chose by customer. The average is the share of the position's rounds that showed the item, which needs no
    logged propensity at all.

    Source: the item-position model of Li, Abbasi-Yadkori, Kveton, Muthukrishnan, Vinay and Wen 2018, Offline evaluation
    of ranking policies with click models; that estimated propensities vary less: Hirano, Imbens and Ridder 2003.

    >>> log = LoggedRounds(2, np.array([0, 0, 0, 1]), np.zeros(4, np.int64), np.array([0.9, 0.6, 0.6, 1e-6]),
    ...                    np.zeros(4), np.zeros((4, 0)), np.arange(4))
    >>> by_item_and_position(log).propensities
    array([0.75, 0.75, 0.75, 0.25])
    """
    cell = rounds.positions * rounds.n_items + rounds.actions
    _, which, counts = np.unique(cell, return_inverse=True, return_counts=True)
    at_position = np.bincount(rounds.positions, minlength=1)
    return replace(rounds, propensities=counts[which] / at_position[rounds.positions])
