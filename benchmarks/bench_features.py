"""Feature table: ours against the same windowed aggregates as a Polars group-by a cut-off; and one customer alone.

Both sides start from one Arrow table in memory, sort it, and make a table a cut-off; the values are compared.
Run: python -m benchmarks.bench_features [--events 5000000]
"""

from __future__ import annotations

import argparse
import statistics
import time

import numpy as np
import polars as pl
import pyarrow as pa

from benchmarks.report import peak_rss_gib, print_and_keep
from features import expressions as e
from features.churn_features import CHURN_FEATURES
from features.compute import compute, compute_many
from features.customer_view import CustomerView
from features.day_tracks import ACTIVE_DAY, DISAPPOINTMENT_DAY, OWN_DOING
from features.fading import MEMORIES, Fading
from features.feature_set import FeatureSet
from features.instants import DAY_US, HOUR_US
from features.schema import KINDS
from features.tracks import CHANNELS, ORDER

KIND_CODES = {kind: code for code, kind in enumerate([*KINDS, ORDER, ACTIVE_DAY, DISAPPOINTMENT_DAY])}
START_US = 1_700_000_000 * 1_000_000
DAYS = 720
MIX = {
    "view": 0.45,
    "purchase": 0.3,
    "cart": 0.1,
    "delivery": 0.03,
    "login": 0.03,
    "return": 0.02,
    "support": 0.02,
    "impression": 0.02,
    "csat": 0.01,
    "review": 0.01,
    "nps": 0.005,
    "offer": 0.004,
    "cancel": 0.001,
}


def make_events(n_events: int, n_customers: int, seed: int) -> pa.Table:
    """Random events in the log's form: string ids, two times, three lines an order."""
    rng = np.random.default_rng(seed)

    def words(form: str, count: int, codes: np.ndarray) -> pa.Array:
        return pa.array(np.char.mod(form, np.arange(count)).astype(object)).take(pa.array(codes))

    kinds = list(MIX)
    kind = rng.choice(len(kinds), n_events, p=np.array(list(MIX.values())) / sum(MIX.values()))
    customer = rng.integers(0, n_customers, n_events)
    occurred = START_US + rng.integers(0, DAYS * 24 * 60, n_events) * 60_000_000
    lines = np.flatnonzero(kind == kinds.index("purchase"))
    order = np.full(n_events, -1)
    order[lines] = np.arange(lines.size) // 3
    heads = lines[(np.arange(lines.size) // 3) * 3]
    occurred[lines], customer[lines] = occurred[heads], customer[heads]
    channel = rng.integers(0, 3, n_events)
    channel[lines] = channel[heads]
    instants = pa.timestamp("us", tz="UTC")
    orders = pa.array(np.char.mod("o%d", np.maximum(order, 0)).astype(object), mask=order < 0)
    return pa.table(
        {
            "customer_key": words("k1:%032x", n_customers, customer),
            "occurred_at": pa.array(occurred).cast(instants),
            "recorded_at": pa.array(occurred).cast(instants),
            "kind": pa.array(kinds).take(pa.array(kind)),
            "item_id": words("i%05d", 5_000, rng.integers(0, 5_000, n_events)),
            "order_id": orders,
            "quantity": pa.array(rng.integers(1, 4, n_events)),
            "amount_minor": pa.array(rng.integers(100, 20_000, n_events)),
            "discount_minor": pa.array(rng.integers(-2_000, 1_000, n_events).clip(0)),
            "value": pa.array(rng.integers(1, 6, n_events)),
            "channel": pa.array([*CHANNELS]).take(pa.array(channel)),
            "topic": pa.array(["out_of_stock", None]).take(pa.array(rng.integers(0, 2, n_events))),
        }
    )


def polars_frame(events: pa.Table) -> pl.DataFrame:
    """Events, derived orders and active days, sorted by (customer, time), with the columns that features sum."""
    frame = pl.from_arrow(events)
    assert isinstance(frame, pl.DataFrame)
    frame = frame.with_columns(
        pl.col("customer_key").cast(pl.Categorical).to_physical().alias("customer"),
        pl.col("item_id").cast(pl.Categorical).to_physical().alias("item"),
        pl.col("occurred_at").dt.epoch("us").alias("occurred_us"),
    )
    orders = (
        frame.filter(pl.col("kind") == "purchase")
        .sort("occurred_us")
        .group_by("customer", "order_id", maintain_order=True)
        .first()
        .with_columns(pl.lit(ORDER).alias("kind"))
    )

    def days(kind: str, counted: pl.Expr) -> pl.DataFrame:
        return (
            frame.filter(counted)
            .group_by("customer", (pl.col("occurred_us") // DAY_US).alias("day"))
            .agg(pl.col("customer_key").first(), pl.col("occurred_us").min())
            .select("customer", "customer_key", "occurred_us", pl.lit(kind).alias("kind"))
        )

    fault = (pl.col("kind") == "return") & (pl.col("topic") != "changed_mind").fill_null(value=False)
    poor = (pl.col("kind") == "review") & (pl.col("value") <= 2)
    parts = [
        frame,
        orders.select(frame.columns),
        days(ACTIVE_DAY, pl.col("kind").is_in(OWN_DOING)),
        days(DISAPPOINTMENT_DAY, fault | poor),
    ]
    frame = pl.concat(parts, how="diagonal").sort("customer", "occurred_us")
    hour = pl.col("occurred_us") // HOUR_US % 24
    first_of_item = (pl.int_range(pl.len()).over("customer", "kind", "item") > 0).alias("repeated_item")
    gap = (pl.col("occurred_us").diff().over("customer", "kind") // 60_000_000).fill_null(0).alias("gap_minutes")
    return frame.with_columns(
        ((pl.col("occurred_us") // DAY_US + 3) % 7 >= 5).alias("weekend"),
        ((hour >= 6) & (hour < 12)).alias("morning"),
        (hour >= 18).alias("evening"),
        (pl.col("discount_minor") > 0).alias("discounted"),
        (pl.col("value") > 0).alias("late"),
        pl.col("value").clip(0).alias("late_hours"),
        pl.col("value").is_null().alias("unanswered"),
        pl.col("value").is_not_null().alias("has_value"),
        (pl.col("value") <= 2).alias("low"),
        pl.when(pl.col("value") > 0).then(pl.col("value").clip(12, 120)).otherwise(0).alias("late_hours_bounded"),
        (pl.col("value") - 60).clip(0, 600).fill_null(0).alias("long_wait_minutes"),
        (pl.col("topic") != "changed_mind").fill_null(value=False).alias("at_fault"),
        (pl.col("topic") == "out_of_stock").fill_null(value=False).alias("out_of_stock"),
        *((pl.col("channel") == channel).alias(channel) for channel in CHANNELS),
        first_of_item,
        gap,
        pl.col("kind").replace_strict(KIND_CODES, return_dtype=pl.Int8),
    ).drop("item_id", "order_id", "topic", "channel", "occurred_at", "recorded_at")


def polars_expression(expression: object, as_of_us: int) -> pl.Expr:  # noqa: C901, PLR0911 - one case an expression
    """One of our expressions as a Polars aggregate in a group-by over customers."""

    def window(track: str, days: int | None, back: int = 0) -> pl.Expr:
        inside = pl.col("kind") == KIND_CODES[track]
        if back:
            inside &= pl.col("occurred_us") < as_of_us - back * DAY_US
        return inside if days is None else inside & (pl.col("occurred_us") >= as_of_us - (back + days) * DAY_US)

    def over(top: pl.Expr, bottom: pl.Expr) -> pl.Expr:
        return pl.when(bottom != 0).then(top / bottom)

    def of(part: object) -> pl.Expr:
        return polars_expression(part, as_of_us)

    match expression:
        case e.Count(track, days, back):
            return window(track, days, back).cast(pl.Int64).sum()
        case e.Total(track, column, days, back):
            return pl.when(window(track, days, back)).then(pl.col(column)).otherwise(0).sum()
        case Fading(track, column, memory):
            faded = (1 if column is None else pl.col(column)) * (
                (pl.col("occurred_us") - as_of_us) / (memory * DAY_US)
            ).exp()
            return pl.when(window(track, MEMORIES * memory)).then(faded).otherwise(0.0).sum()
        case e.Age(track, first):
            instants = pl.when(window(track, None)).then(pl.col("occurred_us"))
            return (as_of_us - (instants.min() if first else instants.max())) / DAY_US
        case e.Distinct(track, days):
            return pl.col("item").filter(window(track, days)).n_unique()
        case e.Ratio(top, bottom):
            return over(of(top), of(bottom))
        case e.Share(part, rest):
            return over(of(part), of(part) + of(rest))
        case e.Trend(recent, earlier):
            return over(of(recent) - of(earlier), of(recent) + of(earlier))
        case e.Difference(left, right):
            return of(left) - of(right)
        case e.GapMean(track, None):
            total = pl.when(window(track, None)).then(pl.col("gap_minutes")).otherwise(0).sum()
            return over(total / 1440, (window(track, None).sum().cast(pl.Int64) - 1).clip(0))
    raise NotImplementedError(type(expression).__name__)


def translatable(feature_set: FeatureSet, count: int) -> FeatureSet:
    """The first `count` features that have a Polars form here."""
    chosen = []
    for feature in feature_set:
        try:
            polars_expression(feature.expression, 0)
        except NotImplementedError:
            continue
        chosen.append(feature)
    return FeatureSet("benchmark", tuple(chosen[:count]))


def run_polars(events: pa.Table, feature_set: FeatureSet, as_ofs: list[int]) -> list[pl.DataFrame]:
    """Sort once, then one lazy group-by a cut-off."""
    frame = polars_frame(events).lazy()
    return [
        frame.filter(pl.col("occurred_us") < as_of)
        .group_by("customer")
        .agg(
            pl.col("customer_key").first(),
            *(polars_expression(f.expression, as_of).cast(pl.Float64).alias(f.name) for f in feature_set),
        )
        .collect()
        for as_of in as_ofs
    ]


def run_ours(events: pa.Table, feature_set: FeatureSet, as_ofs: list[int]) -> list[np.ndarray]:
    """Sort once, then one compute a cut-off."""
    view = CustomerView.from_events(events)
    return [table.values for table in compute_many(view, feature_set, as_ofs)]


def timed(function, *arguments):
    """Seconds and result."""
    start = time.perf_counter()
    result = function(*arguments)
    return time.perf_counter() - start, result


def largest_difference(ours: np.ndarray, theirs: pl.DataFrame, keys: list[str], feature_set: FeatureSet) -> float:
    """Largest relative difference between the two tables; inf where one side is missing and the other is not."""
    rows = {key: row for row, key in enumerate(keys)}
    mine = ours[[rows[key] for key in theirs["customer_key"]]]
    other = theirs.select(feature_set.names).to_numpy()
    if (np.isnan(mine) != np.isnan(other)).any():
        return float("inf")
    return float(np.nanmax(np.abs(mine - other) / np.maximum(np.abs(other), 1)))


def one_customer(view: CustomerView, as_of_us: int, calls: int) -> list[float]:
    """Milliseconds of each `select` + `compute` of one customer, all churn features."""
    rows = np.random.default_rng(1).integers(0, view.n_customers, calls)
    return [timed(lambda row=row: compute(view.select([row]), CHURN_FEATURES, as_of_us))[0] * 1e3 for row in rows]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--events", type=int, default=5_000_000)
    parser.add_argument("--customers", type=int, default=100_000)
    parser.add_argument("--rounds", type=int, default=2)
    options = parser.parse_args()
    events = make_events(options.events, options.customers, seed=0)
    feature_set = translatable(CHURN_FEATURES, 60)
    as_ofs = [START_US + (DAYS - 30 * back) * DAY_US for back in range(6)]
    ours, theirs = [], []
    for _ in range(options.rounds):
        seconds, mine = timed(run_ours, events, feature_set, as_ofs)
        ours.append(seconds)
        seconds, other = timed(run_polars, events, feature_set, as_ofs)
        theirs.append(seconds)
    view = CustomerView.from_events(events)
    keys = view.customer_keys.tolist()
    difference = max(largest_difference(a, b, keys, feature_set) for a, b in zip(mine, other, strict=True))
    alone = one_customer(view, as_ofs[0], 500)
    size = f"{options.events:,} events, {options.customers:,} customers, {len(feature_set)} features, 6 cut-offs"
    p99 = float(np.percentile(alone, 99))
    fastest = statistics.median(ours)
    print_and_keep(
        "features",
        f"Feature table: {size}, sorting included",
        [
            {"side": "holdfast compute", "median s": fastest, "times holdfast": 1.0},
            {
                "side": "Polars group-by a cut-off",
                "median s": statistics.median(theirs),
                "times holdfast": statistics.median(theirs) / fastest,
            },
        ],
        (
            f"largest relative difference between the two tables: {difference:.1e}",
            f"one customer, {len(CHURN_FEATURES)} features, ms: median {statistics.median(alone):.2f}, p99 {p99:.2f}",
            f"peak memory of both sides together: {peak_rss_gib():.1f} GiB",
        ),
    )


if __name__ == "__main__":
    main()
