"""A learned order of candidates: boosted trees that correct the blend."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Self

import numpy as np
import numpy.typing as npt

from features.errors import ArtefactError
from serving.ranking import Asked, Blended, Candidates, blend, read_by
from serving.ranking_features import Context, ItemFacts, feature_names, fingerprint, pair_features
from serving.sources.histories import Histories
from serving.sources.source import CandidateSource
from serving.trees import Trees

__all__ = ["NEW_RANKER_FILE", "RANKER_FILE", "Ranker"]

Floats = npt.NDArray[np.float64]

RANKER_FILE, NEW_RANKER_FILE = "ranker.txt", "new_ranker.txt"
_AGAIN = "fit and release anew"
_DECIMALS = 9


@dataclass(frozen=True, eq=False)
class Ranker:
    """Trees over `ranking_features` that begin at the blend: where they say nothing, its order stays.

    Attributes:
        sources: names of the sources of its features, in their order.
        weights: of the same sources in the blend that it was trained on; sources of weight 0 propose nothing, but what
            they think of what others propose is read.
        trees: of the objective "lambdarank".
        blend_scale: the trees add to the blend's score times this; above 0.

    Raises:
        ArtefactError: the trees are of other features or of another objective, or the scale is not above 0.

    Source: Burges (2010), From RankNet to LambdaRank to LambdaMART: an overview, section 7.
    """

    sources: tuple[str, ...]
    weights: tuple[float, ...]
    trees: Trees
    blend_scale: float

    def __post_init__(self) -> None:
        if self.trees.feature_names != feature_names(self.sources) or self.trees.objective != "lambdarank":
            raise ArtefactError(f"the ranker's trees are of other features than its sources have; {_AGAIN}")
        if len(self.weights) != len(self.sources) or not all(0 <= weight < math.inf for weight in self.weights):
            raise ArtefactError(f"the ranker needs a weight of at least 0 for each of its sources; {_AGAIN}")
        if not any(self.weights):
            raise ArtefactError(f"the ranker needs a source with a weight above 0; {_AGAIN}")
        if not 0 < self.blend_scale < math.inf:
            raise ArtefactError(f"the ranker's blend_scale is {self.blend_scale}, not a number above 0; {_AGAIN}")

    def scores(self, features: Floats, blended: Floats) -> Floats:
        """float64 (n, m), at least 0; higher is better, and each pair's is its row's alone.

        With s what the trees and the blend add up to, the score is `log(1 + exp(s)) / blend_scale`: in the order of s,
        about the blend's score where the trees say nothing, and never below 0, so that what a shop weighs against
        relevance weighs as much as against a blend. Between two items of one customer the difference of s is the
        log-odds that the one is turned to rather than the other.

        Args:
            features: float64 (n, m, f), of `pair_features`.
            blended: float64 (n, m), the score of the blend that is corrected.
        """
        n, m, n_features = features.shape
        if not n * m:
            return np.zeros((n, m))
        margins = self.trees.margins(features.reshape(n * m, n_features)).reshape(n, m) + self.blend_scale * blended
        found: Floats = np.round(np.logaddexp(0.0, margins) / self.blend_scale, _DECIMALS)
        return found

    def order(
        self,
        found: Candidates,
        asked: Asked,
        histories: Histories,
        facts: ItemFacts,
        context: Context | None = None,
        *,
        blended: Blended | None = None,
        fitted: Sequence[CandidateSource] = (),
    ) -> Floats | None:
        """What decides about candidates, float64 (n, m); None where one of its sources with weight was not asked.

        The trees see the blend that they were trained on and correct the one that is asked for. Cold customers, of
        whom they know nothing, keep the latter. `blended` is the latter, where it is known; `fitted` holds its sources
        that were not asked.
        """
        by_name = {source.name: source for source in (*fitted, *asked.sources)}
        proposing = {name for name, weight in zip(self.sources, self.weights, strict=True) if weight > 0}
        if not found.places.shape[1] or not {source.name for source in asked.sources} >= proposing:
            return None
        if not by_name.keys() >= set(self.sources) or histories.cold.all():
            return None
        seen = read_by(found, asked.sources, [by_name[name] for name in self.sources], histories)
        total = (blended or blend(found, asked.weights)).total
        weights = tuple(np.full(histories.n_customers, weight) for weight in self.weights)
        asked_alike = seen is found and all(map(np.array_equal, weights, asked.weights))
        usual = total if asked_alike else blend(seen, weights).total
        learned = self.scores(pair_features(self.sources, seen, usual, histories, facts, context), total)
        return np.where(histories.cold[:, None], total, learned)

    def to_parts(self) -> tuple[dict[str, Any], bytes]:
        """What JSON can hold, and the text of its trees."""
        described = {
            "sources": list(self.sources),
            "weights": list(self.weights),
            "blend_scale": self.blend_scale,
            "features": fingerprint(self.sources),
        }
        return described, self.trees.to_bytes()

    @classmethod
    def from_parts(cls, described: Mapping[str, Any], text: bytes, file: str = RANKER_FILE) -> Self:
        """The ranker of `to_parts`; `file` is the word for where its trees come from.

        Raises:
            ArtefactError: something is missing or altered, or it was made for other features.
        """
        sources, weights = described.get("sources"), described.get("weights")
        if not isinstance(sources, list) or not all(isinstance(name, str) for name in sources):
            raise ArtefactError(f"the ranker does not name its sources; {_AGAIN}")
        scale = described.get("blend_scale")
        if not isinstance(weights, list) or not all(isinstance(one, int | float) for one in (*weights, scale)):
            raise ArtefactError(f"the ranker's weights and blend_scale must be numbers; {_AGAIN}")
        if described.get("features") != fingerprint(sources):
            raise ArtefactError(f"the ranker was made for other features than this version computes; {_AGAIN}")
        trees = Trees.from_bytes(bytes(text), feature_names(sources), file, "lambdarank")
        return cls(tuple(sources), tuple(float(one) for one in weights), trees, float(described["blend_scale"]))
