"""Fitting RP3beta: a walk of three steps from the customer, with popular ends held back."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy.sparse import diags

from serving.sources.histories import Histories
from serving.sources.neighbours import NeighbourSource
from training.sources.likes import Likes
from training.sources.settings import check_positive
from training.sources.strongest import ROWS_AT_ONCE, strongest_sparse

__all__ = ["Rp3BetaSettings", "fit_rp3beta"]


@dataclass(frozen=True)
class Rp3BetaSettings:
    """How the walk is fitted.

    Attributes:
        alpha: power of the chance of each step.
        beta: power of the popularity that the end of the walk is divided by; at least 0.
        neighbours: so many items are kept for each.

    Raises:
        ConfigurationError: a number is not above 0 (beta may be 0).
    """

    alpha: float = 0.8
    beta: float = 0.3
    neighbours: int = 200

    def __post_init__(self) -> None:
        check_positive(self, "recommender.rp3beta", zero=("beta",))


def fit_rp3beta(histories: Histories, n_items: int, settings: Rp3BetaSettings) -> NeighbourSource:
    """S[i, j]: the chance to walk from item i to a customer who likes it and on to item j, over popularity.

    The third step, from the customer asking to one of their items, is the weight in their history.

    Source: Paudel et al. (2017), Updatable, accurate, diverse, and scalable recommendations for interactive
    applications, ACM TiiS 7(1), section 4.2; Dacrema et al. (2019), Are we really making much progress?, section 3.1.
    """
    likes = Likes.read(histories, n_items)
    to_customer = (diags((1 / likes.by_item).astype(np.float32)) @ likes.matrix.T).tocsr()
    to_item = (diags((1 / likes.by_customer).astype(np.float32)) @ likes.matrix).tocsr()
    to_customer.data **= np.float32(settings.alpha)
    to_item.data **= np.float32(settings.alpha)
    ends = diags((likes.by_item**-settings.beta).astype(np.float32))
    steps = range(0, n_items, ROWS_AT_ONCE)
    blocks = (to_customer[at : at + ROWS_AT_ONCE] @ to_item @ ends for at in steps)
    return NeighbourSource(strongest_sparse(blocks, settings.neighbours), "rp3beta")
