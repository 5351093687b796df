"""The state of the running shop: what the modules of the day loop share."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np

from features.instants import DAY_US
from training.simulated_shop.arrays import Flags, Floats, Ints
from training.simulated_shop.catalogue import Catalogue
from training.simulated_shop.dynamics import Condition
from training.simulated_shop.history import History
from training.simulated_shop.ledger import Ledger
from training.simulated_shop.people import People
from training.simulated_shop.seasons import Calendar
from training.simulated_shop.settings import SimulationSettings

__all__ = ["Agenda", "Shelf", "World"]

PANTRY_SLOTS = 5
_LONG_AGO = -100_000


@dataclass
class Agenda:
    """Things that will happen on a coming day, by name and day."""

    entries: dict[tuple[str, int], list[dict[str, Ints]]] = field(default_factory=dict)

    def put(self, name: str, days: Ints, columns: dict[str, Ints]) -> None:
        """Enter one thing a row; `days` (n,) says when."""
        for day in np.unique(days):
            chosen = days == day
            part = {key: values[chosen] for key, values in columns.items()}
            self.entries.setdefault((name, int(day)), []).append(part)

    def take(self, name: str, day: int) -> dict[str, Ints] | None:
        """What was entered for this day, or None."""
        parts = self.entries.pop((name, day), None)
        if parts is None:
            return None
        return {key: np.concatenate([part[key] for part in parts]) for key in parts[0]}


@dataclass
class Shelf:
    """What each customer has at home or in mind. Arrays over customer rows."""

    owned: Flags
    """Things that last and were bought, (n_customers, n_items)."""
    pantry_item: Ints
    """Consumables in use, -1 for a free slot, (n_customers, PANTRY_SLOTS)."""
    pantry_day: Ints
    interest: Ints
    """The item that was looked at with intent, -1 for none."""
    interest_day: Ints
    coupon_day: Ints
    """Day of the last discount offer."""

    @classmethod
    def empty(cls, n_customers: int, n_items: int) -> Shelf:
        """Nothing at home, nothing in mind."""
        return cls(
            owned=np.zeros((n_customers, n_items), dtype=np.bool_),
            pantry_item=np.full((n_customers, PANTRY_SLOTS), -1, dtype=np.int64),
            pantry_day=np.full((n_customers, PANTRY_SLOTS), _LONG_AGO, dtype=np.int64),
            interest=np.full(n_customers, -1, dtype=np.int64),
            interest_day=np.full(n_customers, _LONG_AGO, dtype=np.int64),
            coupon_day=np.full(n_customers, _LONG_AGO, dtype=np.int64),
        )


@dataclass
class World:
    """One run of the shop."""

    settings: SimulationSettings
    catalogue: Catalogue
    people: People
    calendar: Calendar
    rng: np.random.Generator
    condition: Condition
    shelf: Shelf
    left_day: Ints
    """Day on whose start the customer left; -1 while a customer."""
    cause: Ints
    """Row of CAUSES, or -1: no incident, the everyday hazard."""
    ledger: Ledger = field(default_factory=Ledger)
    agenda: Agenda = field(default_factory=Agenda)
    orders: History = field(default_factory=History)
    evidence: History = field(default_factory=History)
    incidents: History = field(default_factory=History)
    offers: History = field(default_factory=History)
    cancels: History = field(default_factory=History)
    at_home: History = field(default_factory=History)
    n_orders: int = 0
    n_contacts: int = 0
    n_recommendations: int = 0
    n_offers_considered: int = 0

    def day_us(self, day: int) -> int:
        """The first instant of a day."""
        return self.settings.start_us + day * DAY_US

    def moment(self, day: int, hours: Floats) -> Ints:
        """Instants on a day, (n,); `hours` in [0, 24), kept 40 minutes away from midnight."""
        within = np.clip(hours, 0.2, 23.3) * (DAY_US // 24)
        return np.asarray(self.day_us(day) + within, dtype=np.int64)

    def is_customer(self, rows: Ints) -> Flags:
        """Whether they have not left yet, (n,)."""
        return np.asarray(self.left_day[rows] < 0, dtype=np.bool_)

    def incident(self, day: int, rows: Ints, cause: int, severity: Floats | float) -> None:
        """Something happened to these customers: it is remembered from tomorrow on."""
        if len(rows):
            np.add.at(self.condition.memory[:, cause], rows, severity)
            self.incidents.add(day, rows, cause, severity)
