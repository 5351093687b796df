"""Reads the Open Bandit Data: what a shop's random policy and its Thompson sampling showed, and what was clicked.

Source: Saito, Aihara, Matsutani and Narita 2021, Open Bandit Dataset and Pipeline. A row is one item shown at one of
three positions; `propensity_score` is the policy's chance of that item at that position.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd

from training.logged_rounds import LoggedRounds

POLICIES = ("random", "bts")


@dataclass(frozen=True, eq=False)
class OpenBandit:
    """The two logs of a campaign over the same items; times in hours since the first row of both."""

    random: LoggedRounds
    bts: LoggedRounds
    random_hours: np.ndarray
    bts_hours: np.ndarray
    campaign: str


def read_open_bandit(folder: Path, campaign: str | None = None) -> OpenBandit:
    """The logs under <folder>/random and <folder>/bts: <campaign>.csv or .csv.gz, there or in a folder of that name."""
    files = {policy: _file(folder / policy, campaign) for policy in POLICIES}
    rows = {policy: pd.read_csv(path) for policy, path in files.items()}
    n_items = 1 + max(int(one["item_id"].max()) for one in rows.values())
    features = [name for name in rows["bts"] if name.startswith("user_feature")]
    known = {name: np.unique(np.concatenate([one[name].astype(str) for one in rows.values()])) for name in features}
    times = {policy: pd.to_datetime(one["timestamp"], utc=True, format="ISO8601") for policy, one in rows.items()}
    start = min(one.min() for one in times.values())
    hours = {policy: ((one - start) / pd.Timedelta(hours=1)).to_numpy() for policy, one in times.items()}
    logs = {policy: _rounds(one, n_items, known) for policy, one in rows.items()}
    name = files["bts"].name.split(".")[0]
    return OpenBandit(logs["random"], logs["bts"], hours["random"], hours["bts"], name)


def _file(folder: Path, campaign: str | None) -> Path:
    found = sorted(path for path in folder.rglob(f"{campaign or '*'}.csv*") if not path.name.startswith("item_context"))
    if len(found) != 1:
        raise SystemExit(f"{folder.name}: {len(found)} logs found; name one with --campaign, as men, women or all")
    return found[0]


def _rounds(rows: pd.DataFrame, n_items: int, known: dict[str, np.ndarray]) -> LoggedRounds:
    """Contexts are one column a value of each user feature."""
    columns = [rows[name].astype(str).to_numpy()[:, None] == values for name, values in known.items()]
    return LoggedRounds(
        n_items,
        rows["item_id"].to_numpy(np.int64),
        rows["position"].to_numpy(np.int64) - int(rows["position"].min()),
        rows["propensity_score"].to_numpy(np.float64),
        rows["click"].to_numpy(np.float64),
        np.concatenate(columns, axis=1).astype(np.float64) if columns else np.zeros((len(rows), 0)),
        np.arange(len(rows), dtype=np.int64),
    )
