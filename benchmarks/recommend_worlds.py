"""Shops of any size to measure recommenders on: tastes, a long tail, a time for everything; same seed, same shop."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from typing import Any

import lightgbm as lgb
import numpy as np
import numpy.typing as npt
import pyarrow as pa
from scipy.sparse import csr_matrix

from features.churn_features import CHURN_FEATURES
from features.customer_view import CustomerView
from features.event_log import EventLog
from features.instants import DAY_US
from features.interactions import InteractionSettings
from features.pseudonyms import Pseudonyms
from features.schema import EVENTS
from features.workspace import Workspace
from serving.bands import Bands
from serving.catalogue import Catalogue
from serving.policy import Policy
from serving.ranker import Ranker
from serving.ranking import blend, gather
from serving.ranking_features import ItemFacts, feature_names, pair_features
from serving.recommender import Recommender, RecommenderSettings
from serving.release import write_release
from serving.sources.histories import Histories
from serving.trees import Trees
from tests.tiny_shop import churn_model
from training.fitted_sources import SourceSettings, fit_sources
from training.ranker import RankerSettings
from training.recommender import RecommenderFitSettings, fit_recommender
from training.release_keys import signing_key

Ints = npt.NDArray[np.int64]

ITEMS_A_TASTE = 250
AS_OF_US = 19_783 * DAY_US
_DAYS = 365


@dataclass(frozen=True)
class World:
    """Purchases (m,) of n customers: rows of customers, places of items, and when."""

    n_customers: int
    n_items: int
    customers: Ints
    items: Ints
    times_us: Ints

    @classmethod
    def drawn(cls, n_customers: int, n_items: int, n_events: int, seed: int) -> World:
        """Each customer has three of the tastes; four of five purchases follow them, within a taste by rank ** -0.8."""
        rng = np.random.default_rng(seed)
        n_tastes = max(8, n_items // ITEMS_A_TASTE)
        order = rng.permutation(n_items)
        bounds = np.linspace(0, n_items, n_tastes + 1).astype(np.int64)
        ranks = np.arange(n_items) - np.repeat(bounds[:-1], np.diff(bounds))
        mass = np.concatenate(([0.0], np.cumsum((1.0 + ranks) ** -0.8)))
        liked = rng.integers(0, n_tastes, (n_customers, 3))
        activity = rng.lognormal(0.0, 0.8, n_customers)
        sizes = rng.multinomial(n_events, activity / activity.sum())
        customers = np.repeat(np.arange(n_customers), sizes)
        taste = liked[customers, rng.integers(0, 3, n_events)]
        taste = np.where(rng.random(n_events) < 0.8, taste, rng.integers(0, n_tastes, n_events))
        low, high = mass[bounds[taste]], mass[bounds[taste + 1]]
        places = np.searchsorted(mass, low + rng.random(n_events) * (high - low), side="right") - 1
        times = AS_OF_US - rng.integers(1, _DAYS * DAY_US, n_events)
        return cls(n_customers, n_items, customers, order[np.minimum(places, n_items - 1)], times)

    def item_ids(self) -> list[str]:
        """In the order of the places."""
        return [f"i{place:07d}" for place in range(self.n_items)]

    def customer_ids(self) -> list[str]:
        """In the order of the rows."""
        return [f"c{row:07d}" for row in range(self.n_customers)]

    def events(self, keys: pa.Array | None = None) -> pa.Table:
        """The purchases as the event log holds them, under the customers' own ids or given keys."""
        n = len(self.items)
        ids = pa.array(self.item_ids(), pa.string())
        known = pa.array(self.customer_ids(), pa.string()) if keys is None else keys
        times = pa.array(self.times_us, pa.timestamp("us", "UTC"))
        told = {
            "event_id": pa.array(np.arange(n)).cast(pa.string()),
            "customer_key": known.take(pa.array(self.customers)),
            "kind": pa.array(["purchase"]).take(pa.array(np.zeros(n, np.int8))),
            "occurred_at": times,
            "recorded_at": times,
            "item_id": ids.take(pa.array(self.items)),
        }
        columns = [told.get(field.name, pa.nulls(n, field.type)) for field in EVENTS.arrow]
        return pa.table(columns, schema=EVENTS.arrow)

    def view(self) -> CustomerView:
        """The purchases as the customers' histories."""
        return CustomerView.from_events(self.events())

    def matrix(self) -> csr_matrix:
        """float32 (n_customers, n_items): how often."""
        ones = np.ones(len(self.items), np.float32)
        return csr_matrix((ones, (self.customers, self.items)), (self.n_customers, self.n_items))

    def catalogue(self, seed: int = 1) -> Catalogue:
        """The items with their attributes."""
        return Catalogue.read(self.items_table(seed), self.item_ids())

    def items_table(self, seed: int = 1) -> pa.Table:
        """Attributes of the items: a category of about 250 of them, a brand of about 50, a price."""
        rng = np.random.default_rng(seed)
        n = self.n_items
        drawn: dict[str, Any] = {
            "item_id": self.item_ids(),
            "title": [f"model{place}" for place in range(n)],
            "category": np.char.add("shelf", rng.integers(0, max(1, n // 250), n).astype(str)).tolist(),
            "brand": np.char.add("brand", rng.integers(0, max(1, n // 50), n).astype(str)).tolist(),
            "price_minor": rng.integers(100, 20_000, n),
        }
        return pa.table(drawn)


def lay_out(workspace: Workspace, world: World, made: Recommender) -> pa.Array:
    """Put a world's log and the release `r-bench` of a recommender into a workspace; the customers' keys."""
    pseudonyms = Pseudonyms.create(workspace.pseudonym_keys)
    keys = pa.chunked_array([pseudonyms.of_column(pa.array(world.customer_ids()))]).combine_chunks()
    EventLog.create(workspace.event_log).append(world.events(keys))
    write_release(
        workspace.releases,
        name="r-bench",
        key=signing_key(workspace),
        created_at_us=AS_OF_US,
        feature_set=CHURN_FEATURES,
        churn=churn_model(0.0),
        recommender=made,
        policy=Policy(),
        bands=Bands(0.3, 0.6),
        provenance={},
    )
    return keys


def trained(world: World, view: CustomerView) -> Recommender:
    """As the training job makes it: the weights of the sources and the ranker are chosen on the last 30 days.

    Where the ranker is not worth its keep, it is ordered by one of the usual size all the same, so that it costs what
    recommenders with one cost.
    """
    settings = RecommenderFitSettings()
    made = fit_recommender(view, AS_OF_US, settings, items=world.items_table(), item_ids=world.item_ids())
    return made if made.ranker else dataclasses.replace(made, ranker=_ranker(made, _some(made, view)))


def recommender(
    world: World,
    view: CustomerView,
    settings: SourceSettings,
    *,
    ranked: bool = True,
    catalogue: Catalogue | None = None,
) -> Recommender:
    """Every source of the settings in one blend of equal weights, ordered by a ranker of 100 trees of the usual size.

    The trees learn to tell what customers have bought from what else is proposed: of no use to a shop, but of the very
    cost of those that are.
    """
    catalogue = catalogue or world.catalogue()
    interactions = InteractionSettings()
    histories = Histories.read(view, AS_OF_US, catalogue.index, interactions)
    sources = fit_sources(histories, catalogue, settings)
    blend = {source.name: 1.0 / len(sources) for source in sources}
    made = Recommender(catalogue, sources, RecommenderSettings(interactions, blend=blend, learnt_until_us=AS_OF_US))
    return dataclasses.replace(made, ranker=_ranker(made, _some(made, view))) if ranked else made


def _some(made: Recommender, view: CustomerView) -> Histories:
    return made.histories(view.select(range(min(400, view.n_customers))), AS_OF_US)


def _ranker(made: Recommender, histories: Histories) -> Ranker:
    names = tuple(name for name, weight in made.settings.blend.items() if weight > 0)
    weights = tuple(made.settings.blend[name] for name in names)
    sources = [made.by_name[name] for name in names]
    found = gather(sources, histories, made.settings.candidates)
    blended = blend(found, [np.full(histories.n_customers, weight) for weight in weights]).total
    values = pair_features(names, found, blended, histories, ItemFacts.of(made.catalogue, made.sources))
    there = found.places >= 0
    owned = histories.matrix(len(made.item_ids))[np.arange(histories.n_customers)[:, None], np.maximum(found.places, 0)]
    labels = (np.asarray(owned.todense()) > 0)[there]
    usual = RankerSettings()
    booster = lgb.train(
        {"objective": "lambdarank", "num_leaves": usual.leaves, "verbosity": -1, "num_threads": 2, "seed": 1},
        lgb.Dataset(values[there], labels, group=there.sum(axis=1), feature_name=list(feature_names(names))),
        num_boost_round=usual.trees,
    )
    return Ranker(names, weights, Trees(feature_names(names), booster.model_to_string(), "lambdarank"), 3.0)
