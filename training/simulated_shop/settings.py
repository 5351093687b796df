"""Settings of the simulated shop, and the words for what drives customers away."""

from __future__ import annotations

from dataclasses import dataclass, field

from features.errors import ConfigurationError
from features.instants import DAY_US, parse_instant

__all__ = [
    "CAUSES",
    "CHANNELS",
    "CUSTOMERS_AT_SCALE_1",
    "OFFER_KINDS",
    "HazardSettings",
    "OfferSettings",
    "SimulationSettings",
]

CUSTOMERS_AT_SCALE_1 = 20_000
CHANNELS = ("web", "app", "store")
CAUSES = ("late_delivery", "complaint_unanswered", "out_of_stock", "weak_match", "support_wait", "poor_csat")
"""Order of every array with one column a cause."""
OFFER_KINDS = ("discount", "free_shipping", "apology_call", "recommendation_email")
"""Order of every array with one column an offer kind; also the `topic` of offer events."""


@dataclass(frozen=True)
class HazardSettings:
    """The daily probability of leaving: `frailty * tenure * (base + sum(weight * memory)) * exp(offer)`.

    `mass` is the hazard, summed over all days, that one incident of severity 1 adds; `memory_days` how long it lasts.
    Both follow CAUSES.
    """

    base_per_day: float = 0.0007
    mass: tuple[float, ...] = (0.34, 0.85, 0.13, 0.30, 0.52, 0.52)
    memory_days: tuple[float, ...] = (25.0, 35.0, 20.0, 30.0, 20.0, 30.0)
    frailty_sigma: float = 0.15
    new_customer_extra: float = 1.0
    tenure_days: float = 120.0
    cancel_share: float = 0.05
    ceiling: float = 0.35


@dataclass(frozen=True)
class OfferSettings:
    """Offers are sent at random: every `every_days`, to `share` of the eligible customers outside the hold-out."""

    every_days: int = 28
    first_day: int = 60
    share: float = 0.12
    holdout_share: float = 0.10
    eligible_days: int = 180
    hazard_days: float = 30.0
    order_days: float = 14.0


@dataclass(frozen=True)
class SimulationSettings:
    """One number, `scale`, sizes the shop: 1.0 is 20,000 customers; `end` is the exclusive last instant.

    Raises:
        ConfigurationError: a value is out of range; the message names it.
    """

    scale: float = 1.0
    days: int = 730
    end: str = "2026-01-01T00:00:00Z"
    n_items: int = 900
    n_brands: int = 40
    latent_dimensions: int = 12
    taste_strength: float = 7.0
    founder_share: float = 0.22
    hazard: HazardSettings = field(default_factory=HazardSettings)
    offer: OfferSettings = field(default_factory=OfferSettings)

    def __post_init__(self) -> None:
        if not 0.001 <= self.scale <= 100:
            raise ConfigurationError(f"simulation scale is {self.scale}; write a number from 0.001 to 100")
        if not 30 <= self.days <= 3_650:
            raise ConfigurationError(f"simulation days is {self.days}; write a number from 30 to 3650")
        if self.n_items < 200:
            raise ConfigurationError(f"simulation n_items is {self.n_items}; write at least 200")
        if parse_instant(self.end) % DAY_US:
            raise ConfigurationError(f"simulation end is {self.end}; write a midnight in UTC")
        for name in ("mass", "memory_days"):
            if len(getattr(self.hazard, name)) != len(CAUSES):
                raise ConfigurationError(f"simulation hazard.{name} needs {len(CAUSES)} numbers: {', '.join(CAUSES)}")

    @property
    def n_customers(self) -> int:
        """Customers who ever join."""
        return max(20, round(CUSTOMERS_AT_SCALE_1 * self.scale))

    @property
    def end_us(self) -> int:
        """The exclusive end of the simulated time."""
        return parse_instant(self.end)

    @property
    def start_us(self) -> int:
        """The first instant of the simulated time, a midnight."""
        return self.end_us - self.days * DAY_US
