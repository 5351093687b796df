"""What an item is worth at a position, learnt from other customers' rounds: the model inside a doubly robust estimate.

Two kinds. Means shrunk towards the mean of all take any reward and few of them; a logistic model reads the context as
well and wants rewards of 0 and 1. Neither has to be right: what it misses, the weighted residuals put back.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

import numpy as np
import numpy.typing as npt
from scipy import sparse
from sklearn.linear_model import LogisticRegression

from features.errors import ConfigurationError
from training.logged_rounds import LoggedRounds, NewPolicy

__all__ = ["CrossFitted", "FitRewards", "RewardModel", "cross_fit", "fit_logistic_rewards", "fit_shrunk_rewards"]

Floats = npt.NDArray[np.float64]
Places = npt.NDArray[np.int64]
_NEVER = 1e12


class RewardModel(Protocol):
    """Says the mean reward of items at positions."""

    def expected(self, items: Places, positions: Places, contexts: Floats) -> Floats:
        """float64 (m,); items and positions int64 (m,), contexts float64 (m, f)."""


FitRewards = Callable[[LoggedRounds], RewardModel]


@dataclass(frozen=True, eq=False)
class CrossFitted:
    """Expected rewards by models that saw nothing of the round's unit.

    logged: float64 (n,), of the item really shown. of_policy: float64 (n,), the mean over what the new policy shows.
    """

    logged: Floats
    of_policy: Floats


@dataclass(frozen=True, eq=False)
class _ShrunkMeans:
    by_item: Floats
    by_position: Floats

    def expected(self, items: Places, positions: Places, contexts: Floats) -> Floats:  # noqa: ARG002
        known = np.minimum(positions, self.by_position.size - 1)
        return np.asarray(self.by_item[items] * self.by_position[known], dtype=np.float64)


def fit_shrunk_rewards(rounds: LoggedRounds) -> RewardModel:
    """Each item's mean reward, drawn towards the mean of all by how little is known of it, times a factor a position.

    An item's mean counts as n / (n + k); k is the variance within items over the variance between them, both told by
    the rounds, so where items cannot be told apart all get the mean of all.

    Source: Buhlmann and Straub 1970, credibility; Buhlmann and Gisler 2005, A Course in Credibility Theory, 4.8.
    """
    n = np.bincount(rounds.actions, minlength=rounds.n_items).astype(np.float64)
    total = np.bincount(rounds.actions, weights=rounds.rewards, minlength=rounds.n_items).astype(np.float64)
    mean = float(rounds.rewards.mean())
    k = _credibility(rounds, n, total, mean)
    by_item = (total + k * mean) / (n + k)
    seen = np.bincount(rounds.positions, weights=rounds.rewards)
    said = np.bincount(rounds.positions, weights=by_item[rounds.actions])
    factor = np.divide(seen, said, out=np.ones_like(seen), where=said != 0.0)
    return _ShrunkMeans(by_item, factor)


def _credibility(rounds: LoggedRounds, n: Floats, total: Floats, mean: float) -> float:
    """How many rounds the mean of all counts as; a very large number where items do not differ by more than chance."""
    shown = n > 0.0
    many = float(n.sum())
    item_mean = np.divide(total, n, out=np.full_like(total, mean), where=shown)
    free = many - shown.sum()
    spread = many - float((n**2).sum()) / many
    if free <= 0.0 or spread <= 0.0:
        return _NEVER
    within = float(((rounds.rewards - item_mean[rounds.actions]) ** 2).sum()) / free
    between = (float((n * (item_mean - mean) ** 2).sum()) - (float(shown.sum()) - 1.0) * within) / spread
    return within / between if between > within / _NEVER else _NEVER


@dataclass(frozen=True, eq=False)
class _Logistic:
    model: LogisticRegression
    n_items: int
    n_positions: int
    centre: Floats
    scale: Floats

    def expected(self, items: Places, positions: Places, contexts: Floats) -> Floats:
        said = self.model.predict_proba(self.columns(items, positions, contexts))
        return np.asarray(said[:, 1], dtype=np.float64)

    def columns(self, items: Places, positions: Places, contexts: Floats) -> sparse.csr_array:
        """One column an item, one a position, and the context."""
        rows = np.arange(items.size)
        ones = np.ones(items.size)
        item = sparse.csr_array((ones, (rows, items)), shape=(items.size, self.n_items))
        known = np.minimum(positions, self.n_positions - 1)
        position = sparse.csr_array((ones, (rows, known)), shape=(items.size, self.n_positions))
        return sparse.hstack([item, position, (contexts - self.centre) / self.scale], format="csr")


def fit_logistic_rewards(rounds: LoggedRounds, strength: float = 1.0) -> RewardModel:
    """A logistic model of item, position and context (each column scaled to variance 1), with an l2 penalty.

    Args:
        rounds: rewards are 0 and 1.
        strength: of the penalty: 1 / C.

    Raises:
        ConfigurationError: rewards other than 0 and 1; use the shrunk means.
    """
    if not np.isin(rounds.rewards, (0.0, 1.0)).all():
        raise ConfigurationError("the logistic reward model wants rewards of 0 and 1; use fit_shrunk_rewards")
    if rounds.rewards.min() == rounds.rewards.max():
        return fit_shrunk_rewards(rounds)
    spread = rounds.contexts.std(axis=0)
    scale = np.where(spread > 0.0, spread, 1.0)
    model = LogisticRegression(C=1.0 / strength, max_iter=1_000)
    found = _Logistic(model, rounds.n_items, rounds.n_positions, rounds.contexts.mean(axis=0), scale)
    model.fit(found.columns(rounds.actions, rounds.positions, rounds.contexts), rounds.rewards.astype(np.int64))
    return found


def cross_fit(
    rounds: LoggedRounds, policy: NewPolicy, fit: FitRewards, rng: np.random.Generator, folds: int = 5
) -> CrossFitted:
    """Expected rewards of every round by a model fitted on the rounds of other units.

    Source: Chernozhukov and others 2018, Double/debiased machine learning, 3.

    Raises:
        ConfigurationError: fewer than two folds, or fewer units than folds.
    """
    units, which = np.unique(rounds.units, return_inverse=True)
    if not 2 <= folds <= units.size:
        raise ConfigurationError(f"cross-fitting takes 2 to {units.size} folds (units in the log), not {folds}")
    fold = rng.permutation(np.arange(units.size) % folds)[which]
    rows = policy.rows
    logged, held = np.empty(rounds.n), np.empty(rows.size)
    for one in range(folds):
        out, inside = fold == one, fold[rows] == one
        model = fit(rounds.select(~out))
        logged[out] = model.expected(rounds.actions[out], rounds.positions[out], rounds.contexts[out])
        whose = rows[inside]
        held[inside] = model.expected(policy.items[inside], rounds.positions[whose], rounds.contexts[whose])
    return CrossFitted(logged, policy.expected(held))
