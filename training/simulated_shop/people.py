"""Who shops: tastes, price sensitivity, own purchase cycle, habits, and how easily they are lost."""

from __future__ import annotations

from dataclasses import dataclass, fields

import numpy as np
import pyarrow as pa

from features.instants import DAY_US
from training.simulated_shop.arrays import Flags, Floats, Ints
from training.simulated_shop.settings import SimulationSettings

__all__ = ["CARRIER_LATE_SHARE", "COUNTRIES", "People", "customer_table", "make_people"]

COUNTRIES = ("DE", "FR", "NL", "PL")
SEGMENTS = ("household", "student", "business")
CARRIER_LATE_SHARE = (0.06, 0.08, 0.12, 0.22)
"""Share of late deliveries by the country's carrier in a quiet week."""

_N_ARCHETYPES = 10
_FOUNDERS_JOINED_WITHIN_DAYS = 500


@dataclass(frozen=True)
class People:
    """Customers as arrays over customer rows, shape (n_customers, ...). Nothing here changes with time."""

    customer_ids: list[str]
    join_day: Ints
    """Days since the start; negative for customers of before."""
    first_gap: Ints
    """Days since the last order on day 0, for customers of before; else 0."""
    country: Ints
    segment: Ints
    taste: Floats
    """Unit vectors in taste space, (n_customers, latent_dimensions)."""
    price_sensitivity: Floats
    """0 does not look at prices, 1 looks at nothing else."""
    cycle_days: Floats
    browse_rate: Floats
    """Browsing sessions a day while content."""
    basket_extra: Floats
    """Mean number of lines beyond the first."""
    channel_share: Floats
    """Shares of web, app and store, (n_customers, 3)."""
    usual_hour: Floats
    frailty: Floats
    """Multiplies the hazard of leaving; mean about 1."""
    contact_aversion: Floats
    """Standard normal; high values are better left alone."""
    in_holdout: Flags
    """Never sent an offer."""

    def select(self, rows: Ints) -> People:
        """These customers, in this order."""
        chosen = {f.name: getattr(self, f.name)[rows] for f in fields(self) if f.name != "customer_ids"}
        return People(customer_ids=[self.customer_ids[row] for row in rows], **chosen)


def make_people(settings: SimulationSettings, rng: np.random.Generator) -> People:
    """The customers who ever join, in the order in which they join."""
    n, k = settings.n_customers, settings.latent_dimensions
    founder = rng.random(n) < settings.founder_share
    join = np.where(
        founder, -rng.integers(1, _FOUNDERS_JOINED_WITHIN_DAYS, n), rng.integers(0, max(1, settings.days - 1), n)
    )
    join = np.sort(join)
    segment = rng.choice(len(SEGMENTS), size=n, p=(0.68, 0.20, 0.12))
    cycle = np.clip(rng.lognormal(np.log(38.0), 0.55, n) * np.asarray((1.0, 1.2, 0.8))[segment], 8.0, 150.0)
    archetypes = rng.normal(0, 1, (_N_ARCHETYPES, k))
    taste = archetypes[rng.integers(0, _N_ARCHETYPES, n)] + rng.normal(0, 0.8, (n, k))
    channel = rng.dirichlet((2.2, 1.8, 0.9), n)
    evening = rng.random(n) < 0.55
    return People(
        customer_ids=[f"C{row + 1:07d}" for row in range(n)],
        join_day=join,
        first_gap=np.where(join < 0, np.ceil(rng.random(n) * cycle), 0).astype(np.int64),
        country=rng.choice(len(COUNTRIES), size=n, p=(0.4, 0.25, 0.2, 0.15)),
        segment=segment,
        taste=taste / np.linalg.norm(taste, axis=1, keepdims=True),
        price_sensitivity=rng.beta(2.0, 2.0, n) * np.asarray((1.0, 1.25, 0.6))[segment] * 0.8,
        cycle_days=cycle,
        browse_rate=np.clip(rng.lognormal(np.log(0.026), 0.35, n), 0.004, 0.20),
        basket_extra=rng.gamma(4.0, 0.28, n),
        channel_share=channel,
        usual_hour=np.where(evening, rng.normal(19.5, 1.2, n), rng.normal(11.5, 2.0, n)),
        frailty=rng.lognormal(-(settings.hazard.frailty_sigma**2) / 2, settings.hazard.frailty_sigma, n),
        contact_aversion=rng.normal(0, 1, n),
        in_holdout=rng.random(n) < settings.offer.holdout_share,
    )


def customer_table(people: People, settings: SimulationSettings) -> pa.Table:
    """The customer table as the shop exports it, with outside ids. Registration is at noon of the day of joining."""
    signed_up = settings.start_us + people.join_day * DAY_US
    return pa.table(
        {
            "customer_id": pa.array(people.customer_ids, pa.string()),
            "signed_up_at": pa.array(signed_up, pa.timestamp("us", tz="UTC")),
            "country": pa.array([COUNTRIES[c] for c in people.country], pa.string()),
            "segment": pa.array([SEGMENTS[s] for s in people.segment], pa.string()),
        }
    )
