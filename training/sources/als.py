"""Fitting implicit's alternating least squares."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from implicit.cpu.als import AlternatingLeastSquares
from threadpoolctl import threadpool_limits

from serving.sources.factors import FactorSource
from serving.sources.histories import Histories
from training.sources.settings import check_positive

__all__ = ["AlsSettings", "fit_als"]


@dataclass(frozen=True)
class AlsSettings:
    """How the factorisation is fitted.

    Attributes:
        factors, iterations: of the factorisation.
        regularization: the plain lambda.
        alpha: confidence of an interaction of weight w is `1 + alpha * |w|`.
        seed: of the start; same seed, same bits.
        n_threads: changes no bit.

    Raises:
        ConfigurationError: a number is not above 0 (the seed may be 0).
    """

    factors: int = 64
    iterations: int = 10
    regularization: float = 100.0
    alpha: float = 20.0
    seed: int = 0
    n_threads: int = 2

    def __post_init__(self) -> None:
        check_positive(self, "recommender.als", zero=("seed",))


def fit_als(histories: Histories, n_items: int, settings: AlsSettings) -> FactorSource:
    """The factorisation of the customers' weights; a refusal (a negative weight) has a confidence of its own."""
    confidence = histories.matrix(n_items)  # implicit reads the confidence 1 + alpha |w| itself, negative for a refusal
    confidence.data = np.sign(confidence.data) * (1 + np.float32(settings.alpha) * np.abs(confidence.data))
    with threadpool_limits(1, "blas"):
        model = AlternatingLeastSquares(
            factors=settings.factors,
            regularization=settings.regularization,
            alpha=1.0,
            iterations=settings.iterations,
            num_threads=settings.n_threads,
            random_state=settings.seed,
        )
        model.fit(confidence, show_progress=False)
    factors = np.ascontiguousarray(model.item_factors, np.float32)
    return FactorSource(factors, settings.alpha, settings.regularization)
