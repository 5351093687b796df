"""A simulated shop, and its truth: the embedded default of the demo and the known answer of many tests."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from features.schema import CUSTOMERS, EVENTS
from training.simulated_shop.catalogue import item_table, make_catalogue
from training.simulated_shop.journeys import run
from training.simulated_shop.ledger import event_table
from training.simulated_shop.oracle import hazard_by_cause, oracle_churn_probability, true_offer_effects
from training.simulated_shop.people import customer_table, make_people
from training.simulated_shop.seasons import make_calendar
from training.simulated_shop.settings import CAUSES, OFFER_KINDS, HazardSettings, OfferSettings, SimulationSettings
from training.simulated_shop.truth import Truth, read_truth, true_affinity, truth_of, write_truth

__all__ = [
    "CAUSES",
    "OFFER_KINDS",
    "HazardSettings",
    "OfferSettings",
    "ShopFiles",
    "SimulatedShop",
    "SimulationSettings",
    "Truth",
    "hazard_by_cause",
    "inside",
    "oracle_churn_probability",
    "read_truth",
    "simulate",
    "true_affinity",
    "true_offer_effects",
    "write_shop",
    "write_truth",
]


@dataclass(frozen=True)
class SimulatedShop:
    """What the shop's own systems hold, in the outside form, and the truth beside it.

    `events` has the columns of EVENTS with `customer_id` for `customer_key`, ordered by recorded_at; `items` those of
    ITEMS; `customers` those of CUSTOMERS with `customer_id`.
    """

    events: pa.Table
    items: pa.Table
    customers: pa.Table
    truth: Truth


@dataclass(frozen=True)
class ShopFiles:
    """Where `write_shop` put the files."""

    events: Path
    items: Path
    customers: Path
    truth: Path


def simulate(settings: SimulationSettings, seed: int) -> SimulatedShop:
    """Let a shop live. The same settings and seed give the same bits; `scale` changes only the number of customers.

    Every part has its own stream of random numbers, so the catalogue and the calendar do not depend on the scale.
    """
    streams = [np.random.default_rng(child) for child in np.random.SeedSequence(seed).spawn(5)]
    catalogue = make_catalogue(settings, streams[0])
    calendar = make_calendar(settings, streams[1])
    people = make_people(settings, streams[2])
    world = run(settings, catalogue, people, calendar, streams[3])
    return SimulatedShop(
        events=event_table(world.ledger, people.customer_ids, catalogue.item_ids, settings.end_us, streams[4]),
        items=item_table(catalogue),
        customers=customer_table(people, settings),
        truth=truth_of(world, seed),
    )


def inside(shop: SimulatedShop, keys_of: Callable[[pa.Array], pa.Array]) -> tuple[pa.Table, pa.Table]:
    """Events and customers in the inside form (EVENTS, CUSTOMERS); `keys_of` makes pseudonyms of outside ids.

    For tests and notebooks that need no import; `Pseudonyms.of_column` is such a function.
    """

    def renamed(table: pa.Table, schema: pa.Schema) -> pa.Table:
        keys = keys_of(table.column("customer_id").combine_chunks())
        with_keys = table.append_column("customer_key", keys)
        return with_keys.select(schema.names).cast(schema)

    return renamed(shop.events, EVENTS.arrow), renamed(shop.customers, CUSTOMERS.arrow)


def write_shop(shop: SimulatedShop, directory: Path, truth_directory: Path | None = None) -> ShopFiles:
    """Write events, items and customers as ordinary Parquet input for `holdfast import`, and the truth apart.

    The truth goes to `truth_directory`, by default `directory / "truth"`.
    """
    files = ShopFiles(
        events=directory / "events.parquet",
        items=directory / "items.parquet",
        customers=directory / "customers.parquet",
        truth=truth_directory if truth_directory is not None else directory / "truth",
    )
    directory.mkdir(parents=True, exist_ok=True)
    pq.write_table(shop.events, files.events, compression="zstd")
    pq.write_table(shop.items, files.items, compression="zstd")
    pq.write_table(shop.customers, files.customers, compression="zstd")
    write_truth(shop.truth, files.truth)
    return files
