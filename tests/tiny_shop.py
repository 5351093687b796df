"""A shop of forty customers with a release fitted on made-up features: small, quick, the real files all the same."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import lightgbm as lgb
import numpy as np

from features.churn_features import CHURN_FEATURES
from features.event_log import EventLog
from features.instants import DAY_US
from features.pseudonyms import Pseudonyms
from features.workspace import Workspace
from serving.bands import Bands
from serving.calibration import BetaCalibrator
from serving.catalogue import Catalogue
from serving.churn_model import ChurnModel
from serving.linear_part import LinearPart
from serving.policy import Policy
from serving.recipe import Recipe
from serving.recommender import Recommender, RecommenderSettings
from serving.release import write_release
from serving.release_files import MANIFEST
from serving.release_signature import SIGNATURE, SigningKey, TrustedKeys
from serving.segments import Segmentation
from serving.sources.buy_again import BuyAgainSource
from serving.sources.factors import FactorSource
from serving.sources.popularity import PopularitySource
from serving.trees import Trees
from tests.event_tables import event, event_table, us
from training.release_keys import adopt

NOW_US = us("2024-03-01")
ITEMS = ("apple", "bread", "cheese", "dates", "eggs")
N_CUSTOMERS = 40


@dataclass(frozen=True)
class TinyShop:
    """A workspace with a sealed log; customers are c0 to c39, customer ci bought every (i + 1) days."""

    workspace: Workspace
    pseudonyms: Pseudonyms

    def release(
        self,
        name: str,
        *,
        base: float = 0.0,
        segments: Segmentation | None = None,
        churn: ChurnModel | None = None,
        bands: Bands | None = None,
        recipes: Mapping[str, Recipe] | None = None,
    ) -> str:
        """Write a release; `base` moves every log-odds, so two releases answer differently; `churn` in its stead.

        `recipes` are the shipped ones where none are given.
        """
        adopt(self.workspace, KEY)
        write_release(
            self.workspace.releases,
            name=name,
            key=KEY,
            created_at_us=NOW_US,
            feature_set=CHURN_FEATURES,
            churn=churn or churn_model(base),
            recommender=recommender(),
            policy=Policy(),
            bands=bands or Bands(0.3, 0.6),
            provenance={"churn": {"name": "holdfast-churn", "version": 3}},
            segments=segments,
            recipes=recipes,
        )
        return name


KEY = SigningKey(bytes(range(32)))
"""What signs the releases of tests."""

TRUSTED = TrustedKeys.of(KEY.public)


def edit_manifest(folder: Path, change: Callable[[dict[str, Any]], object], key: SigningKey = KEY) -> None:
    """Change the manifest and sign it again: what only the later checks can find."""
    path = folder / MANIFEST
    manifest = json.loads(path.read_text())
    change(manifest)
    path.write_text(json.dumps(manifest))
    (folder / SIGNATURE).write_bytes(key.sign(path.read_bytes()))


def tiny_shop(root: Path) -> TinyShop:
    """Make the shop under a folder."""
    workspace = Workspace(root)
    pseudonyms = Pseudonyms.create(workspace.pseudonym_keys)
    log = EventLog.create(workspace.event_log, n_buckets=4)
    log.append(event_table(*_history(pseudonyms)))
    return TinyShop(workspace, pseudonyms)


def _history(pseudonyms: Pseudonyms) -> list[dict[str, Any]]:
    rows = []
    for number in range(N_CUSTOMERS):
        key = pseudonyms.of(f"c{number}")
        for order in range(6):
            at = NOW_US - (number + 1) * (order + 1) * DAY_US
            item = ITEMS[(number + order) % len(ITEMS)]
            rows.append(event(key, "purchase", at, item_id=item, order_id=f"o{number}-{order}"))
            rows.append(event(key, "view", at - DAY_US // 2, item_id=item))
    return rows


@cache
def churn_model(base: float) -> ChurnModel:
    """Trees that raise the risk with the days since the last order, and nothing else."""
    rng = np.random.default_rng(7)
    n_rows, column = 600, CHURN_FEATURES.names.index("orders_recency_days")
    values = rng.normal(size=(n_rows, len(CHURN_FEATURES)))
    values[:, column] = rng.uniform(0, 120, n_rows)
    labels = (values[:, column] > 20).astype(float)
    labels = np.where(rng.random(n_rows) < 0.1, 1 - labels, labels)
    booster = lgb.train(
        {"objective": "binary", "num_leaves": 7, "verbosity": -1, "num_threads": 1, "seed": 7},
        lgb.Dataset(values, labels, feature_name=list(CHURN_FEATURES.names)),
        num_boost_round=10,
    )
    return ChurnModel(
        feature_names=tuple(CHURN_FEATURES.names),
        fingerprint=CHURN_FEATURES.fingerprint(),
        horizons_days=(90,),
        gap_days=7,
        base_rate=0.4,
        linear=LinearPart(len(CHURN_FEATURES), 0.0, ()),
        trees=Trees(tuple(CHURN_FEATURES.names), booster.model_to_string()),
        calibrator=BetaCalibrator(1.0, 1.0, base),
        reference=np.linspace(0.05, 0.95, 50),
        medians=np.median(values, axis=0),
    )


def recommender() -> Recommender:
    """Five items; apple and bread lie together, the others apart."""
    factors = np.array([[1, 0.1], [1, 0.2], [0, 1], [-1, 0.3], [0.2, -1]], np.float32)
    ones = np.ones(len(ITEMS))
    sources = (
        FactorSource(factors, alpha=20.0, regularization=100.0),
        PopularitySource(np.arange(len(ITEMS), 0, -1).astype(np.float32)),
        BuyAgainSource(ones / 30, ones * 20, prior_days=60.0, horizon_days=30.0),
    )
    return Recommender(Catalogue.nothing_said(ITEMS), sources, RecommenderSettings())
