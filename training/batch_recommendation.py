"""Slates of all customers in one file, and the customers whom one item suits best.

The same recommender as the service's, asked in chunks on several threads, so memory holds the histories and a few
chunks of slates, however many customers there are. The file appears whole or not at all. It is the recommender's own
order: what a recipe says of a placement (its rules, its objective, places that explore) is the storefront's alone.
"""

from __future__ import annotations

import json
from collections import deque
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.parquet as pq

from features.errors import ConfigurationError, DataError
from features.instants import format_instant
from features.workspace import Workspace
from serving.churn_answers import model_of
from serving.filter_language import parse_filter
from serving.filter_masks import mask_of
from serving.ranking import Asked, Ranked
from serving.recommender import Recommender
from serving.release import Release
from serving.releases import load_named
from serving.sources.histories import Histories
from serving.sources.source import Bools, Excluded
from training.batch_scoring import default_release
from training.customer_ids import CustomerIds
from training.log_data import LogData, Progress, read_log, silent

__all__ = ["SLATES", "SlateOptions", "Slates", "Suited", "customers_for", "recommend_job", "slate_chunks"]

Ints = npt.NDArray[np.int64]

SLATES = pa.schema(
    [
        ("customer_id", pa.string()),
        ("position", pa.int32()),
        ("item_id", pa.string()),
        ("score", pa.float64()),
        ("source", pa.dictionary(pa.int8(), pa.string())),
    ]
)
"""A row for each customer and item; position 1 is the best. Scores compare within one customer alone."""

_METADATA = b"holdfast"


@dataclass(frozen=True)
class SlateOptions:
    """How slates are made.

    top: items a customer, at least 1. exclude_owned: leave out what the customer bought. where: a filter on attributes
    of items; empty lets everything through. chunk, threads: customers at a time, in how many threads; neither changes
    a slate.
    """

    top: int = 20
    exclude_owned: bool = False
    where: str = ""
    chunk: int = 128
    threads: int = 2

    def __post_init__(self) -> None:
        for name in ("top", "chunk", "threads"):
            if getattr(self, name) < 1:
                raise ConfigurationError(f"{name} is {getattr(self, name)}; write a whole number above 0")


@dataclass(frozen=True)
class Slates:
    """What was written. n_nameless: customers left out because the shop's own id of theirs is not known."""

    path: Path
    release: str
    as_of: str
    n_customers: int
    n_nameless: int
    n_rows: int


@dataclass(frozen=True)
class Suited:
    """A customer whom an item suits: the score is a share of what the customer's own best item has."""

    customer_id: str
    score: float
    source: str


def recommend_job(
    workspace: Workspace,
    out: Path,
    options: SlateOptions | None = None,
    *,
    release_name: str | None = None,
    as_of_us: int | None = None,
    progress: Progress = silent,
) -> Slates:
    """Write the slates of all customers to a Parquet file, whose metadata name model, release and instant.

    Histories are as of `as_of`, by default just after the last recorded event. The release is by default the one that
    is served, else the newest.

    Raises:
        ConfigurationError: the file does not end in .parquet, or the release recommends nothing.
        FilterError: the filter cannot be read or does not fit the catalogue.
        ArtefactError: there is no release or no log.
    """
    chosen = options or SlateOptions()
    if out.suffix != ".parquet":
        raise ConfigurationError(f"{out.name} does not end in .parquet; name the file so that it does")
    release, recommender = _loaded(workspace, release_name)
    allowed = _allowed(recommender, chosen.where)
    progress("reading the event log")
    data = read_log(workspace)
    as_of = data.known_us if as_of_us is None else as_of_us
    ids = CustomerIds.of(workspace, pa.array(data.view.customer_keys, pa.string()))
    histories = recommender.histories(data.view, as_of)
    described = {"model": model_of(release, "recommender"), "as_of": format_instant(as_of), "top": chosen.top}
    schema = SLATES.with_metadata({_METADATA: json.dumps(described).encode()})
    n_rows = n_named = 0
    out.parent.mkdir(parents=True, exist_ok=True)
    staged = out.with_name(f".{out.name}.part")
    try:
        with pq.ParquetWriter(staged, schema) as writer:
            for start, asked, ranked in slate_chunks(recommender, histories, chosen, allowed):
                rows, named = _rows(recommender, asked, ranked, ids.at(start, len(ranked.places)))
                writer.write_table(rows.cast(schema))
                n_rows, n_named = n_rows + rows.num_rows, n_named + named
                progress(f"slates of {start + len(ranked.places):,} of {len(ids):,} customers")
        staged.replace(out)
    finally:
        with suppress(FileNotFoundError):
            staged.unlink()
    return Slates(out, release.name, format_instant(as_of), n_named, len(ids) - n_named, n_rows)


def customers_for(
    workspace: Workspace,
    item_id: str,
    top: int,
    *,
    exclude_owners: bool = True,
    release_name: str | None = None,
    as_of_us: int | None = None,
    threads: int = 2,
    progress: Progress = silent,
) -> list[Suited]:
    """The customers whom an item suits best, best first, ties by pseudonym; those with no score above 0 are left out.

    Raises:
        ConfigurationError: `top` is below 1, or the release recommends nothing.
        DataError: the catalogue of the release does not hold the item.
        ArtefactError: there is no release or no log.
    """
    options = SlateOptions(top=top, threads=threads)
    release, recommender = _loaded(workspace, release_name)
    only = recommender.mask([item_id])
    if not only.any():
        raise DataError(f"the catalogue of {release.name} does not hold that item; name one that was sold before")
    progress("reading the event log")
    data: LogData = read_log(workspace)
    histories = recommender.histories(data.view, data.known_us if as_of_us is None else as_of_us)
    ids = CustomerIds.of(workspace, pa.array(data.view.customer_keys, pa.string()))
    one = SlateOptions(1, exclude_owners, chunk=options.chunk, threads=threads)
    best: list[tuple[float, int, str]] = []
    for start, asked, ranked in slate_chunks(recommender, histories, one, only, pool=True):
        named = ids.at(start, len(ranked.places)).is_valid().to_numpy(zero_copy_only=False)
        shown = np.flatnonzero((ranked.places[:, 0] >= 0) & (ranked.scores[:, 0] > 0) & named)
        best += [
            (float(ranked.scores[row, 0]), start + row, asked.sources[int(ranked.source[row, 0])].name)
            for row in shown.tolist()
        ]
        best = sorted(best, key=lambda found: (-found[0], found[1]))[:top]
        progress(f"asked {start + len(ranked.places):,} of {len(ids):,} customers")
    return [Suited(ids.at(row, 1)[0].as_py(), score, source) for score, row, source in best]


def slate_chunks(
    recommender: Recommender, histories: Histories, options: SlateOptions, allowed: Bools, *, pool: bool = False
) -> Iterator[tuple[int, Asked, Ranked]]:
    """For each chunk of customers, in order: its first row, the sources asked, and the best `options.top`.

    Args:
        recommender: asked as the service asks it.
        histories: of all customers.
        options: `where` is not read.
        allowed: bool (n_items,), what may be shown.
        pool: rank exactly what is allowed, whether or not a source proposes it.
    """

    def work(start: int) -> tuple[int, Asked, Ranked]:
        part = histories.part(start, min(start + options.chunk, histories.n_customers))
        owned = Excluded(part.bought_offsets, part.bought.items) if options.exclude_owned else None
        ranked, asked = recommender.ranked(
            part, allowed, options.top, excluded=owned, pool=allowed if pool else None, news=options.exclude_owned
        )
        return start, asked, ranked

    waiting: deque[Future[tuple[int, Asked, Ranked]]] = deque()
    executor = ThreadPoolExecutor(options.threads)
    try:
        for start in range(0, histories.n_customers, options.chunk):
            waiting.append(executor.submit(work, start))
            if len(waiting) > options.threads:
                yield waiting.popleft().result()
        while waiting:
            yield waiting.popleft().result()
    finally:
        executor.shutdown(cancel_futures=True)


def _loaded(workspace: Workspace, release_name: str | None) -> tuple[Release, Recommender]:
    release = load_named(release_name or default_release(workspace), workspace)
    if release.recommender is None:
        raise ConfigurationError(f"the release {release.name} was made of a table and recommends nothing; name another")
    return release, release.recommender


def _allowed(recommender: Recommender, where: str) -> Bools:
    """What is in stock, as far as the release knows, and passes the filter."""
    catalogue = recommender.catalogue
    if not where:
        return catalogue.in_stock
    return catalogue.in_stock & mask_of(parse_filter(where, catalogue.attributes), catalogue)


def _rows(recommender: Recommender, asked: Asked, ranked: Ranked, ids: pa.Array) -> tuple[pa.Table, int]:
    """The rows of the customers whose ids are known, and how many customers those are."""
    named = ids.is_valid().to_numpy(zero_copy_only=False)
    shown = (ranked.places >= 0) & named[:, None]
    customers, positions = np.nonzero(shown)
    names = pa.array([source.name for source in asked.sources], pa.string())
    sources = pa.DictionaryArray.from_arrays(pa.array(ranked.source[shown].astype(np.int8)), names)
    table = pa.table(
        {
            "customer_id": ids.take(pa.array(customers)),
            "position": pa.array((positions + 1).astype(np.int32)),
            "item_id": pa.array([recommender.item_ids[place] for place in ranked.places[shown].tolist()], pa.string()),
            "score": pa.array(ranked.scores[shown]),
            "source": sources,
        }
    )
    return table, int(np.count_nonzero(named))
