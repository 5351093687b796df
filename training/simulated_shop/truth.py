"""What only the simulation knows, kept beside the shop's data in files of its own."""

from __future__ import annotations

import dataclasses
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from features.errors import ArtefactError
from features.settings import read_settings
from training.simulated_shop.arrays import Floats, Ints
from training.simulated_shop.baskets import affinity
from training.simulated_shop.catalogue import Catalogue
from training.simulated_shop.dynamics import SUPPORT_PER_DAY
from training.simulated_shop.history import Stream
from training.simulated_shop.people import People
from training.simulated_shop.seasons import Calendar
from training.simulated_shop.settings import CAUSES, CHANNELS, OFFER_KINDS, SimulationSettings
from training.simulated_shop.world import World

__all__ = ["Intake", "Truth", "read_truth", "true_affinity", "truth_of", "write_truth"]

_ARRAYS = "truth.npz"
_PARAMETERS = "truth.json"
_STREAMS = ("orders", "evidence", "incidents", "offers", "cancels", "at_home")


@dataclass(frozen=True)
class Intake:
    """Mean severity of incidents to come, by cause, shape (len(CAUSES),): what the oracle expects of the future."""

    per_order: Floats
    per_session: Floats
    per_day: Floats


@dataclass(frozen=True)
class Truth:
    """Everything about the world that no feature may read.

    `left_day` is the day (since the start) at whose start the customer left, -1 for who still is a customer at the
    end; `cause` the row of CAUSES that added most to the hazard then, -1 where it was the everyday base or nobody left.
    Streams: orders and evidence (any sign of life) by day and row; incidents with code = cause and amounts[:, 0] =
    severity; offers with code 0 (eligible, sent nothing) or 1 + row of OFFER_KINDS, amounts = effects on the log
    hazard and on the log order probability when sent; cancels; at_home (what came into use or to stay) with code =
    item row and amounts[:, 0] = the pantry slot of a consumable, -1 for what lasts.
    """

    settings: SimulationSettings
    seed: int
    people: People
    catalogue: Catalogue
    calendar: Calendar
    left_day: Ints
    cause: Ints
    orders: Stream
    evidence: Stream
    incidents: Stream
    offers: Stream
    cancels: Stream
    at_home: Stream
    intake: Intake

    @property
    def customer_ids(self) -> list[str]:
        """Outside ids by customer row."""
        return self.people.customer_ids

    @property
    def item_ids(self) -> list[str]:
        """Item ids by item row."""
        return self.catalogue.item_ids


def true_affinity(truth: Truth, customer_rows: Ints, item_rows: Ints) -> Floats:
    """The fixed log weight with which customers choose items, (len(customer_rows), len(item_rows)).

    Taste, popularity and price. Season, stock and what the customer has at home come on top of it on the day.
    """
    return affinity(truth.people, truth.catalogue, truth.settings, customer_rows, item_rows)


def truth_of(world: World, seed: int) -> Truth:
    """The truth of a world that has run to its end."""
    return Truth(
        settings=world.settings,
        seed=seed,
        people=world.people,
        catalogue=world.catalogue,
        calendar=world.calendar,
        left_day=world.left_day,
        cause=world.cause,
        orders=world.orders.stream(),
        evidence=world.evidence.stream(),
        incidents=world.incidents.stream(),
        offers=world.offers.stream(),
        cancels=world.cancels.stream(),
        at_home=world.at_home.stream(),
        intake=_intake(world),
    )


def _intake(world: World) -> Intake:
    """Means over the whole run: stock-outs by session, lateness and mismatch by order, the rest by contact."""
    incidents = world.incidents.stream()
    total = np.bincount(incidents.code, weights=incidents.amounts[:, 0], minlength=len(CAUSES))
    ended = np.where(world.left_day >= 0, world.left_day, world.settings.days)
    customer_days = float(np.maximum(ended - np.maximum(world.people.join_day, 0), 0).sum())
    n_orders, n_sessions = max(world.n_orders, 1), max(len(world.evidence.stream().day) + world.n_orders, 1)
    unprompted = min(SUPPORT_PER_DAY * customer_days / max(world.n_contacts, 1), 1.0)
    of_session = np.asarray([name == "out_of_stock" for name in CAUSES])
    of_contact = np.asarray([name in ("complaint_unanswered", "support_wait", "poor_csat") for name in CAUSES])
    share = np.where(of_contact, unprompted, 0.0)
    return Intake(
        per_order=np.where(of_session, 0.0, total * (1.0 - share) / n_orders),
        per_session=np.where(of_session, total / n_sessions, 0.0),
        per_day=total * share / max(customer_days, 1.0),
    )


def write_truth(truth: Truth, directory: Path) -> None:
    """Write `truth.npz` (arrays, no pickle) and `truth.json` (settings, seed, names) into a folder."""
    directory.mkdir(parents=True, exist_ok=True)
    arrays: dict[str, Any] = {}
    for field in dataclasses.fields(truth):
        value = getattr(truth, field.name)
        if field.name in ("settings", "seed"):
            continue
        if dataclasses.is_dataclass(value):
            for part in dataclasses.fields(value):
                arrays[f"{field.name}.{part.name}"] = np.asarray(getattr(value, part.name))
        else:
            arrays[field.name] = value
    np.savez(directory / _ARRAYS, **arrays)
    parameters = {
        "seed": truth.seed,
        "settings": dataclasses.asdict(truth.settings),
        "causes": CAUSES,
        "offer_kinds": OFFER_KINDS,
        "channels": CHANNELS,
    }
    (directory / _PARAMETERS).write_text(json.dumps(parameters, indent=2) + "\n", encoding="utf-8")


def read_truth(directory: Path) -> Truth:
    """The truth from the folder that `write_truth` wrote.

    Raises:
        ArtefactError: a file is missing, or was written for other causes than today's.
    """
    try:
        parameters = json.loads((directory / _PARAMETERS).read_text(encoding="utf-8"))
        with np.load(directory / _ARRAYS, allow_pickle=False) as file:
            arrays = {name: file[name] for name in file.files}
    except FileNotFoundError as error:
        missing = Path(str(error.filename)).name
        raise ArtefactError(f"there is no {missing} in the truth folder; simulate the shop again") from None
    if tuple(parameters["causes"]) != CAUSES:
        raise ArtefactError("the truth was written for other causes of leaving; simulate the shop again")
    known = {name: value for name, value in arrays.items() if "." not in name}
    parts: dict[str, type] = {"people": People, "catalogue": Catalogue, "calendar": Calendar, "intake": Intake}
    parts |= dict.fromkeys(_STREAMS, Stream)
    for name, kind in parts.items():
        known[name] = kind(**{f.name: _plain(arrays[f"{name}.{f.name}"]) for f in dataclasses.fields(kind)})
    return Truth(settings=read_settings(SimulationSettings, parameters["settings"]), seed=parameters["seed"], **known)


def _plain(values: Any) -> Any:
    return values.tolist() if values.dtype.kind == "U" else values
