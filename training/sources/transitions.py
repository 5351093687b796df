"""Fitting what comes next: a ridge regression of later items on earlier ones, or decayed counts where many."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from scipy.linalg import cho_factor, cho_solve
from scipy.sparse import csr_matrix, diags

from serving.sources.histories import Histories
from serving.sources.recent_steps import RecentSteps
from serving.sources.transitions import TransitionSource
from training.sources.settings import check_positive
from training.sources.strongest import ROWS_AT_ONCE, strongest, strongest_sparse
from training.sources.terms import terms_of

__all__ = ["TransitionSettings", "fit_transitions"]

Floats = npt.NDArray[np.float64]
Block = npt.NDArray[np.float32]


@dataclass(frozen=True)
class TransitionSettings:
    """How transitions are counted, regressed and read.

    An occasion is all that a customer did at one instant.

    Attributes:
        past_decay: an earlier occasion counts so much of the one after it, on the side of what was.
        future_decay: a later occasion counts so much of the one before it, on the side of what comes.
        backward: a pair counts so much in the other direction; 1 forgets the order.
        window: so many occasions back and ahead are paired.
        last: so many occasions of each customer are read, the last ones.
        largest: an occasion of more items than that is nobody's taste (an import, a resale) and is left out: its pairs
            go with the square of its size.
        regularization: lambda of the ridge term.
        attribute_weight: what an attribute that one item alone has counts against a customer who went from item to
            item; 0 leaves attributes out.
        attribute_power: an attribute of n items counts `n ** -attribute_power` of that.
        popularity_power: what is led to is divided by `count ** popularity_power`.
        exact_items: the regression up to so many items (its time goes with their cube); beyond, how often an occasion
            follows, each pair counting `past_decay ** (occasions between)`, divided by `count ** 0.7` of the item that
            leads and `count ** 0.3` of the one that is led to.
        neighbours: so many items are kept for each.
        step_decay, half_life_days: how steps are weighed when a decision is made; see `RecentSteps`.

    Raises:
        ConfigurationError: a number is not above 0 (backward, attribute_weight, the powers and half_life_days may be).
    """

    past_decay: float = 0.7
    future_decay: float = 0.7
    backward: float = 0.5
    window: int = 20
    last: int = 200
    largest: int = 200
    regularization: float = 200.0
    attribute_weight: float = 5.0
    attribute_power: float = 0.5
    popularity_power: float = 0.15
    exact_items: int = 8_000
    neighbours: int = 300
    step_decay: float = 0.73
    half_life_days: float = 30.0

    def __post_init__(self) -> None:
        may_be_zero = ("backward", "attribute_weight", "attribute_power", "popularity_power", "half_life_days")
        check_positive(self, "recommender.transitions", zero=may_be_zero)
        RecentSteps(self.step_decay, self.half_life_days, self.window)


def fit_transitions(
    histories: Histories, n_items: int, settings: TransitionSettings, tokens: Sequence[Sequence[str]] = ()
) -> TransitionSource:
    """S = inverse of `PtP + lambda I` times `PtF`: what comes (F) regressed on what was (P), one row an occasion.

    Every attribute is one more row, in P and F alike, that holds all its items: what is alike is led to alike, and an
    item that few have bought borrows from those with its attributes.

    Args:
        histories: of the customers to fit on; their steps are read.
        n_items: length of the catalogue.
        settings: see `TransitionSettings`.
        tokens: the attributes of each item, or nothing.

    Source: Choi et al. (2021), Session-aware linear item-item models for session-based recommendation, WWW, eq. 8
    (SLIT); the rows of attributes after Jeunen et al. (2020), Closed-form models for collaborative filtering with
    side-information, RecSys, section 3 (CEASE).
    """
    occasions, ahead = _occasions(histories, n_items, settings)
    past = _at_most_one(_decayed(ahead, settings.past_decay, 1, settings.window) @ occasions)
    exact = n_items <= settings.exact_items
    future = occasions
    if exact:
        future = _at_most_one(_decayed(ahead.T.tocsr(), settings.future_decay, 0, settings.window) @ occasions)
    pairs = (past.T.tocsr() @ future).tocsr()
    pairs = (pairs + np.float32(settings.backward) * pairs.T).tocsr()
    counts = np.maximum(np.bincount(occasions.indices, minlength=n_items), 1).astype(np.float64)
    if exact:
        led = (counts**-settings.popularity_power).astype(np.float32)
        blocks = _regressed(past, pairs, _alike(tokens, n_items, settings), settings.regularization)
        # what is led away from is no reason to leave it out
        found = strongest((np.maximum(block * led, 0) for block in blocks), settings.neighbours)
    else:
        leading, led = (diags((counts**-power).astype(np.float32)) for power in (0.7, 0.3))
        found = strongest_sparse([(leading @ pairs @ led).tocsr()], settings.neighbours)
    return TransitionSource(
        found,
        RecentSteps(settings.step_decay, settings.half_life_days, settings.window),
    )


def _occasions(histories: Histories, n_items: int, settings: TransitionSettings) -> tuple[csr_matrix, csr_matrix]:
    """Occasions by items, 0 or 1; and occasions by occasions, 1 where the column comes just before the row."""
    steps = histories.steps
    customers = steps.customers
    new = np.ones(len(steps.items), np.bool_)
    new[1:] = (np.diff(customers) > 0) | (np.diff(steps.times_us) > 0)
    occasion = np.cumsum(new) - 1
    whose = customers[new]
    held = np.ones((len(occasion),), np.float32)
    until = np.searchsorted(whose, whose, side="right")  # the end of the customer's occasions
    recent = until - np.arange(len(whose)) <= settings.last
    kept = (recent & (np.bincount(occasion, minlength=len(whose)) <= settings.largest))[occasion]
    found = csr_matrix((held[kept], (occasion[kept], steps.items[kept])), shape=(len(whose), n_items))
    found.data = np.minimum(found.data, np.float32(1.0))
    later = np.flatnonzero((np.diff(whose, prepend=-1) == 0) & recent)
    later = later[recent[later - 1]]
    ones = np.ones(len(later), np.float32)
    return found, csr_matrix((ones, (later, later - 1)), shape=(len(whose), len(whose)))


def _decayed(shift: csr_matrix, decay: float, first: int, window: int) -> csr_matrix:
    """`sum over d from first to window of decay ** (d - first) * shift ** d`, float32."""
    power = diags(np.ones(shift.shape[0], np.float32)).tocsr()
    found = csr_matrix(shift.shape, dtype=np.float32)
    for distance in range(window + 1):
        if distance >= first:
            found = found + np.float32(decay ** (distance - first)) * power
        power = (power @ shift).tocsr()
        if not power.nnz:
            break
    return found.tocsr()


def _at_most_one(side: csr_matrix) -> csr_matrix:
    side.data = np.minimum(side.data, np.float32(1.0))
    return side


def _alike(tokens: Sequence[Sequence[str]], n_items: int, settings: TransitionSettings) -> csr_matrix:
    """float32 (n_items, n_items): the weight of the attributes that two items share."""
    if not len(tokens) or not settings.attribute_weight:
        return csr_matrix((n_items, n_items), dtype=np.float32)
    terms, sizes = terms_of(tokens)
    weight = settings.attribute_weight * sizes**-settings.attribute_power
    return (terms @ diags(weight.astype(np.float32)) @ terms.T).tocsr()


def _regressed(past: csr_matrix, pairs: csr_matrix, alike: csr_matrix, regularization: float) -> Iterator[Block]:
    """The rows of S, block by block; float32, as the square of the catalogue is held twice."""
    left = (past.T.tocsr() @ past + alike).toarray().astype(np.float32, copy=False)
    left[np.diag_indices_from(left)] += regularization
    factor = cho_factor(left.T, lower=True, overwrite_a=True, check_finite=False)
    alike.setdiag(0.0)  # an item is not to be told from its own attributes
    right = np.asfortranarray((pairs + alike).toarray().astype(np.float32, copy=False))
    found = cho_solve(factor, right, overwrite_b=True, check_finite=False)
    for start in range(0, len(found), ROWS_AT_ONCE):
        yield np.ascontiguousarray(found[start : start + ROWS_AT_ONCE])
