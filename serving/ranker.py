"""A learned order of candidates: boosted trees that correct the blend."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Self

import numpy as np
import numpy.typing as npt

from features.errors import ArtefactError
from serving.ranking_features import BLEND_SCORE, feature_names, fingerprint
from serving.trees import Trees

__all__ = ["RANKER_FILE", "Ranker"]

Floats = npt.NDArray[np.float64]

RANKER_FILE = "ranker.txt"
_AGAIN = "fit and release anew"
_DECIMALS = 12


@dataclass(frozen=True, eq=False)
class Ranker:
    """Trees over `ranking_features` that begin at the blend: where they say nothing, its order stays.

    Attributes:
        sources: names of the sources of its features, in their order.
        trees: of the objective "lambdarank".
        blend_scale: the trees add to the blend's score times this; above 0.

    Raises:
        ArtefactError: the trees are of other features or of another objective, or the scale is not above 0.

    Source: Burges (2010), From RankNet to LambdaRank to LambdaMART: an overview, section 7.
    """

    sources: tuple[str, ...]
    trees: Trees
    blend_scale: float

    def __post_init__(self) -> None:
        if self.trees.feature_names != feature_names(self.sources) or self.trees.objective != "lambdarank":
            raise ArtefactError(f"the ranker's trees are of other features than its sources have; {_AGAIN}")
        if not 0 < self.blend_scale < math.inf:
            raise ArtefactError(f"the ranker's blend_scale is {self.blend_scale}, not a number above 0; {_AGAIN}")

    def scores(self, features: Floats) -> Floats:
        """float64 (n, m) in [0, 1] for features float64 (n, m, f); higher is better, each pair's is its row's alone.

        The logistic function of what the trees and the blend add up to: between two items of one customer the
        difference of that sum is the log-odds that the one is turned to rather than the other. NaN where the blend is.
        """
        n, m, n_features = features.shape
        if not n * m:
            return np.zeros((n, m))
        margins = self.trees.margins(features.reshape(n * m, n_features)).reshape(n, m)
        margins += self.blend_scale * features[:, :, self.trees.feature_names.index(BLEND_SCORE)]
        found: Floats = np.round(0.5 + 0.5 * np.tanh(0.5 * margins), _DECIMALS)
        return found

    def to_parts(self) -> tuple[dict[str, Any], bytes]:
        """What JSON can hold, and the content of RANKER_FILE."""
        described = {
            "sources": list(self.sources),
            "blend_scale": self.blend_scale,
            "features": fingerprint(self.sources),
        }
        return described, self.trees.to_bytes()

    @classmethod
    def from_parts(cls, described: Mapping[str, Any], text: bytes) -> Self:
        """The ranker of `to_parts`.

        Raises:
            ArtefactError: something is missing or altered, or it was made for other features.
        """
        sources, scale = described.get("sources"), described.get("blend_scale")
        if not isinstance(sources, list) or not all(isinstance(name, str) for name in sources):
            raise ArtefactError(f"the ranker does not name its sources; {_AGAIN}")
        if not isinstance(scale, int | float):
            raise ArtefactError(f"the ranker needs the number blend_scale; {_AGAIN}")
        if described.get("features") != fingerprint(sources):
            raise ArtefactError(f"the ranker was made for other features than this version computes; {_AGAIN}")
        trees = Trees.from_bytes(text, feature_names(sources), RANKER_FILE, "lambdarank")
        return cls(tuple(sources), trees, float(scale))
