"""Answers as the challenger would give them, from histories of its own, and what they took; nothing is kept."""

from __future__ import annotations

import math
import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from features.compute import FeatureTable
from serving.explanations import Wanted, explanations
from serving.histories import Histories
from serving.history_features import known_at
from serving.kept_requests import request_again
from serving.recipe import Recipe
from serving.release import Release
from serving.rollouts.counting import lacking
from serving.snapshots import Snapshots
from serving.stored_scores import scored
from serving.storefronts import Storefronts

__all__ = ["ShadowAnswers"]

_BROUGHT = Recipe("rank")
_SKIPPED = {"skipped": True}
_NOT_FINITE = "NotFinite"


@dataclass(frozen=True, eq=False)
class ShadowAnswers:
    """What a release needs to answer again. Times are of the processor: this process is one that waits for others."""

    release: Release
    histories: Histories
    snapshots: Snapshots
    storefronts: Storefronts
    reasons_count: int

    def answer(self, asked: Mapping[str, Any]) -> dict[str, Any]:
        """To a line of `AskedScore` or `AskedSlate`; what the release raises is told by its name alone."""
        started = time.process_time()
        try:
            return self._score(asked) if asked["kind"] == "churn" else self._slate(asked)
        except Exception as error:  # whatever the release does wrong is what a shadow is there to find
            return {"error": type(error).__name__, "seconds": time.process_time() - started}

    def _score(self, asked: Mapping[str, Any]) -> dict[str, Any]:
        release, told = self.release, asked["told"]
        values, unseen = self._values(asked)
        if values is None:
            return _SKIPPED
        key, as_of_us = asked["customer_key"], asked["as_of_us"]
        names = release.churn.feature_names
        table = FeatureTable(np.array([key], object), as_of_us, names, values[None], release.fingerprint)
        wanted = Wanted(
            reasons=told["reasons"],
            actions=told["actions"],
            what_if=told["what_if"],
            language=told["language"],
            currency=self.histories.currency,
            reasons_count=self.reasons_count,
        )
        started = time.process_time()
        found = scored(release, table, forecast=told["forecast"], segments=told["segment"])
        explanations(release, wanted, found.scores, table.values)
        seconds = time.process_time() - started
        probability = float(found.scores.churn_probability[0])
        if not math.isfinite(probability):
            return {"error": _NOT_FINITE, "seconds": seconds}
        quality = {"missing_share": float(np.isnan(values).mean()), "unseen_features": unseen}
        return {
            "seconds": None if told["stored"] else seconds,  # the champion's were worked out before it was asked
            "probability": probability,
            "band": str(found.scores.band[0]),
            "missing": lacking(release, quality),
        }

    def _values(self, asked: Mapping[str, Any]) -> tuple[Any, tuple[str, ...]]:
        """Feature values float64 (f,), and which training had never seen; None where the customer is unknown."""
        key, as_of_us = asked["customer_key"], asked["as_of_us"]
        if asked["told"]["stored"]:
            self.snapshots.poll([self.release.table] if self.release.table is not None else [])
            stored = self.snapshots.of(self.release.fingerprint)
            if stored is None or stored.as_of_us != as_of_us:
                return None, ()
            return stored.row(key), stored.unseen.get(key, ())
        self.histories.catch_up()
        known = known_at(self.histories.many([key]), as_of_us).get(key)
        return (None if known is None else known.values), ()

    def _slate(self, asked: Mapping[str, Any]) -> dict[str, Any]:
        release, placement = self.release, asked["placement"]
        if release.recommender is None:
            return {"error": "NoRecommender", "seconds": None}
        if placement is not None and placement not in release.recipes:
            return {"error": "NoSuchPlacement", "seconds": None}
        recipe = _BROUGHT if placement is None else release.recipes[placement]
        wanted = request_again(asked["request"], recipe)
        storefront = self.storefronts.of(release.recommender)
        self.histories.catch_up()
        history = self.histories.at_hand(asked["customer_key"], asked["visitor_key"])
        started = time.process_time()
        slate = storefront.slate(
            history, asked["as_of_us"], wanted, recipe, asked["risk"], recommendation_id=asked["recommendation_id"]
        )
        seconds = time.process_time() - started
        if not slate.finite:
            return {"error": _NOT_FINITE, "seconds": seconds}
        return {
            "seconds": seconds,
            "item_ids": [item.item_id for item in slate.items],
            "fallback": slate.fallback,
        }
