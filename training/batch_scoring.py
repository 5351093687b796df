"""Scores of all customers in one file, in the shop's own ids: for a CRM import, a list for a call centre, a report.

The same `compute` and the same scorer as the service, in chunks, so memory holds one chunk of features at a time. The
file appears whole or not at all.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv as pa_csv
import pyarrow.parquet as pq

from features.churn_features import CHURN_FEATURES
from features.compute import compute
from features.customer_view import CustomerView
from features.errors import ConfigurationError, NotEnoughDataError
from features.instants import format_instant
from features.tables import IDENTITIES, read_table
from features.workspace import Workspace
from serving.reasons import reasons
from serving.release import Release, load_release
from serving.releases import newest_release
from serving.scoring import score_churn
from training.churn_settings import ChurnSettings
from training.jobs import Progress, read_log, silent
from training.population import eligible

__all__ = ["FORMATS", "SCORES", "Scored", "score_job"]

FORMATS = (".csv", ".parquet")
SCORES = pa.schema(
    [
        pa.field("customer_id", pa.string(), nullable=False),
        pa.field("churn_probability", pa.float64(), nullable=False),
        pa.field("churn_score", pa.int64(), nullable=False),
        pa.field("percentile", pa.float64(), nullable=False),
        pa.field("band", pa.string(), nullable=False),
        pa.field("eligible", pa.bool_(), nullable=False),
        pa.field("reason_codes", pa.string(), nullable=False),
        pa.field("as_of", pa.string(), nullable=False),
        pa.field("model", pa.string(), nullable=False),
        pa.field("model_version", pa.string(), nullable=False),
        pa.field("release", pa.string(), nullable=False),
    ]
)
"""Columns of the file. `eligible` is false for customers without a recent order, of whom the model knows little;
`reason_codes` are separated by spaces, the weightiest first."""


@dataclass(frozen=True)
class Scored:
    """What was written.

    n_nameless: customers left out because the shop's own id of theirs is not known.
    n_eligible: of those scored, the customers with a recent order; bands: how many of these fall into each band.
    """

    path: Path
    release: str
    as_of: str
    n_scored: int
    n_nameless: int
    n_eligible: int
    bands: dict[str, int]


def score_job(
    workspace: Workspace,
    out: Path,
    churn_settings: ChurnSettings,
    *,
    release_name: str | None = None,
    as_of_us: int | None = None,
    reasons_count: int = 3,
    chunk: int = 20_000,
    progress: Progress = silent,
) -> Scored:
    """Score every customer with an event before `as_of` and write `out`, CSV or Parquet by its ending.

    `as_of` is by default just after the last recorded event; the release is by default the newest one.

    Raises:
        ConfigurationError: the ending is unknown.
        ArtefactError: there is no such release, or it was altered.
        NotEnoughDataError: nobody has an event before `as_of`.
    """
    if out.suffix not in FORMATS:
        raise ConfigurationError(f"{out.name} ends in none of {', '.join(FORMATS)}; name the file so that it does")
    release = load_release(workspace.releases / (release_name or newest_release(workspace.releases)), CHURN_FEATURES)
    progress("reading the event log")
    data = read_log(workspace)
    instant = data.known_us if as_of_us is None else as_of_us
    view = _known(data.view, instant)
    if view.n_customers == 0:
        raise NotEnoughDataError(f"0 customers have an event before {format_instant(instant)}; choose a later instant")
    names = _customer_ids(workspace, view)
    n_nameless, counted = int(pc.sum(names.is_null()).as_py()), dict.fromkeys(("high", "medium", "low"), 0)
    out.parent.mkdir(parents=True, exist_ok=True)
    staged = out.with_name(f".{out.name}.part")
    try:
        with _writer(staged, out.suffix) as writer:
            for done, part in _chunks(view, release, instant, churn_settings, reasons_count, chunk):
                named = part.set_column(0, SCORES.field(0).with_nullable(True), names.slice(done, part.num_rows))
                known = named.filter(pc.is_valid(named["customer_id"])).cast(SCORES)
                writer.write_table(known)
                for row in pc.value_counts(known.filter(known["eligible"])["band"]).to_pylist():
                    counted[row["values"]] += row["counts"]
                progress(f"scored {done + part.num_rows:,} of {view.n_customers:,} customers")
        staged.replace(out)
    finally:
        with suppress(FileNotFoundError):
            staged.unlink()
    return Scored(
        out,
        release.name,
        format_instant(instant),
        view.n_customers - n_nameless,
        n_nameless,
        sum(counted.values()),
        counted,
    )


def _known(view: CustomerView, as_of_us: int) -> CustomerView:
    """The customers with at least one event known at `as_of`, and these events."""
    known = view.known_at(as_of_us)
    n_events = np.diff(known.offsets).reshape(-1, max(known.n_customers, 1)).sum(axis=0)
    return known.select(np.flatnonzero(n_events).astype(np.int64))


def _writer(path: Path, suffix: str) -> pa_csv.CSVWriter | pq.ParquetWriter:
    return pa_csv.CSVWriter(str(path), SCORES) if suffix == ".csv" else pq.ParquetWriter(str(path), SCORES)


def _customer_ids(workspace: Workspace, view: CustomerView) -> pa.Array:
    """The outside id of each customer of the view, null where it is not known."""
    identities = read_table(workspace.identities, IDENTITIES)
    keys = pa.array(view.customer_keys.tolist(), pa.string())
    places = pc.index_in(keys, identities["customer_key"].combine_chunks())
    return identities["customer_id"].combine_chunks().take(places)


def _chunks(
    view: CustomerView, release: Release, as_of_us: int, settings: ChurnSettings, reasons_count: int, chunk: int
) -> Iterator[tuple[int, pa.Table]]:
    """Start row and scores of each chunk; customer_id is left empty."""
    recent = eligible(view, as_of_us, settings)
    version = str(release.manifest["provenance"].get("churn", {}).get("version", ""))
    for start in range(0, view.n_customers, chunk):
        rows = np.arange(start, min(start + chunk, view.n_customers), dtype=np.int64)
        table = compute(view.select(rows), CHURN_FEATURES, as_of_us)
        scores = score_churn(release.churn, release.bands, table)
        n = len(scores)

        def constant(text: str, n: int = n) -> pa.Array:
            return pa.array([text] * n, pa.string())

        yield (
            start,
            pa.table(
                [
                    constant(""),
                    pa.array(scores.churn_probability),
                    pa.array(scores.churn_score),
                    pa.array(scores.percentile),
                    pa.array(scores.band.tolist(), pa.string()),
                    pa.array(recent[rows]),
                    pa.array(_reason_codes(release, table.values, reasons_count), pa.string()),
                    constant(format_instant(as_of_us)),
                    constant("churn"),
                    constant(version),
                    constant(release.name),
                ],
                schema=SCORES,
            ),
        )


def _reason_codes(release: Release, values: npt.NDArray[np.float64], count: int) -> list[str]:
    model = release.churn
    contributions = model.contributions(values)
    return [
        " ".join(reason.code for reason in reasons(model, row, moved, count))
        for row, moved in zip(values, contributions, strict=True)
    ]
