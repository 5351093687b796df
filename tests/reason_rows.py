"""One customer's values and contributions by the names of features, for tests of what is said about them."""

import dataclasses
from collections.abc import Mapping

import numpy as np

from features.churn_features import CHURN_FEATURES
from serving.churn_model import ChurnModel
from tests.tiny_shop import churn_model

NAMES = CHURN_FEATURES.names


def row(values: Mapping[str, float], size: int = len(NAMES)) -> np.ndarray:
    """float64 (f,): the values by name; missing where none is given."""
    found = np.full(size, np.nan)
    for name, value in values.items():
        found[NAMES.index(name)] = value
    return found


def moves(contributions: Mapping[str, float]) -> np.ndarray:
    """float64 (f + 1,): contributions by name, else 0; the average margin last."""
    return np.nan_to_num(np.append(row(contributions), 9.0))


def model_with(medians: Mapping[str, float]) -> ChurnModel:
    """The tiny shop's model, with these training medians and no others."""
    return dataclasses.replace(churn_model(0.0), medians=row(medians))
