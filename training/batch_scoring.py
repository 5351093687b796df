"""Scores of all customers in one file, in the shop's own ids: for a CRM import, a list for a call centre, a report.

The same scorer as the service, in chunks, so memory holds a few chunks of features at a time, however many customers
there are. The file appears whole or not at all. The same scores go into a book (`serving.score_book`), from which the
service answers the work list and who changed band.
"""

from __future__ import annotations

from collections import Counter
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv as pa_csv
import pyarrow.parquet as pq

from features.churn_features import CHURN_FEATURES
from features.errors import ConfigurationError
from features.instants import format_instant
from features.workspace import Workspace
from serving.churn_answers import model_of
from serving.lifecycle import STAGES
from serving.release import Release
from serving.releases import known_releases, load_named, newest_release
from serving.rollouts.state import read_rollout
from serving.score_book import BOOK, BookFacts, list_books, write_book
from serving.segments import LANGUAGES
from serving.store import Store
from training.batch_scorer import BatchScorer, ScoreOptions
from training.churn_problem import problem_of
from training.churn_settings import ChurnSettings
from training.customer_ids import CustomerIds
from training.log_data import Progress, silent
from training.score_sources import FeatureSource, LogFeatures, newest_snapshot
from training.table_scoring import GivenTable, TableRows, read_given

__all__ = ["FORMATS", "Scored", "default_release", "score_job"]

FORMATS = (".csv", ".parquet")


@dataclass(frozen=True)
class Scored:
    """What was written.

    n_nameless: customers left out of the file because the shop's own id of theirs is not known.
    n_eligible: of those in the file, the customers about whom the question may be asked; bands: how many of these fall
    into each band. n_reasoned: of all scored, those with reasons. book: the number of the book, None for none.
    notes: what is to be known of the table that was read, in words.
    """

    path: Path
    release: str
    as_of: str
    n_scored: int
    n_nameless: int
    n_eligible: int
    n_reasoned: int
    bands: dict[str, int]
    book: int | None
    notes: tuple[str, ...] = ()


def score_job(
    workspace: Workspace,
    out: Path | None,
    churn_settings: ChurnSettings,
    options: ScoreOptions | None = None,
    *,
    release_name: str | None = None,
    as_of_us: int | None = None,
    source: FeatureSource | None = None,
    given: GivenTable | None = None,
    progress: Progress = silent,
) -> Scored:
    """Score every customer and write `out`, CSV or Parquet by its ending.

    A folder, or None for the current one, gets a Parquet file named after the model, the release and the instant.
    Features come from `source`, or are computed from the event log as of `as_of`, by default just after the last
    recorded event. The release is by default the one that is served, so that what it says of a customer today and what
    its book says agree; where nothing is served yet, the newest one. Who is asked about is told by the question that
    the release's model answers, and by the settings where the release does not say.

    A release of a table scores the table as stored, or the rows of `given` for a file alone: scoring changes nothing
    that the service answers a customer from. `training.table_refresh` does.

    Raises:
        ConfigurationError: the ending is unknown, the newest book is of a later instant, the release is not of a table
            and one is given, or a book is to be kept of one.
        DataError: the table lacks a column that the model reads, or one is of another kind.
        ArtefactError: there is no such release, or it was altered.
        NotEnoughDataError: nobody has an event before `as_of`.
    """
    chosen = options or ScoreOptions()
    if out is not None and not out.is_dir() and out.suffix not in FORMATS:
        raise ConfigurationError(f"{out.name} ends in none of {', '.join(FORMATS)}; name the file so that it does")
    if given is not None and chosen.keep_books is not None:
        raise ConfigurationError(
            "--book of a table that is not stored would tell another thing than the service's answers, which come from "
            "the stored table; store it first (holdfast features build --table FILE) and score without --table, or "
            "leave out --book for a file alone"
        )
    release = load_named(release_name or default_release(workspace), workspace)
    if given is not None or release.table is not None:
        source = _table_source(workspace, release, given, as_of_us, progress)
    elif source is None:
        progress("reading the event log")
        problem = problem_of(release.manifest["provenance"]) or churn_settings.problem
        source = LogFeatures.read(workspace, CHURN_FEATURES, replace(churn_settings, problem=problem), as_of_us)
    if chosen.keep_books is not None:
        _check_forward(workspace, source.as_of_us)
    scoring = BatchScorer(release, source, chosen)
    if out is None or out.is_dir():
        out = (out or Path()) / f"{scoring.columns.file_name}.parquet"
    return _written(workspace, out, scoring, progress)


def _table_source(
    workspace: Workspace, release: Release, given: GivenTable | None, as_of_us: int | None, progress: Progress
) -> FeatureSource:
    if release.table is None:
        raise ConfigurationError(f"{release.name} reads the event log, not a table; leave out --table")
    if given is not None:
        progress("reading the table")
        return read_given(workspace, release.table, given)
    if as_of_us is not None:
        raise ConfigurationError(f"{release.name} reads a stored table, which is of one moment; leave out --as-of")
    return newest_snapshot(workspace, release.table)


def default_release(workspace: Workspace) -> str:
    """The champion of the service's store, else the release that was made last."""
    if Store.exists(workspace.store):
        store = Store.open(workspace.store)
        try:
            state = read_rollout(store)
        finally:
            store.close()
        if state is not None:
            served = Path(state.champion.rpartition(":")[2]).name
            if served in known_releases(workspace.releases):
                return served
    return newest_release(workspace.releases)


def _written(workspace: Workspace, out: Path, scoring: BatchScorer, progress: Progress) -> Scored:
    """Score, write the file, then the book."""
    source = scoring.source
    if isinstance(source, TableRows):  # it holds the ids as it was given them
        ids = CustomerIds(source.customer_ids, pa.array(range(len(source.customer_ids)), pa.int64()))
    else:
        ids = CustomerIds.of(workspace, source.customer_keys())
    counted: Counter[str] = Counter(high=0, medium=0, low=0)
    booked: list[pa.Table] = []
    n_named = n_reasoned = 0
    out.parent.mkdir(parents=True, exist_ok=True)
    staged = out.with_name(f".{out.name}.part")
    try:
        with _writer(staged, out.suffix, scoring.columns.schema) as writer:
            for start, keys, columns in scoring.results(progress):
                named = columns.set_column(0, "customer_id", ids.at(start, columns.num_rows))
                known = named.filter(pc.is_valid(named["customer_id"]))
                writer.write_table(known)
                n_named += known.num_rows
                n_reasoned += columns.num_rows - columns["reason_codes"].null_count
                asked = pc.value_counts(known.filter(known["eligible"])["band"])
                counted.update({row["values"]: row["counts"] for row in asked.to_pylist()})
                if scoring.options.keep_books is not None:
                    booked.append(_book_rows(keys, columns))
                progress(f"scored {start + columns.num_rows:,} of {len(ids):,} customers")
        staged.replace(out)
    finally:
        with suppress(FileNotFoundError):
            staged.unlink()
    seq = _book(workspace, scoring, booked, progress)
    as_of = format_instant(scoring.source.as_of_us)
    return Scored(
        out,
        scoring.release.name,
        as_of,
        n_named,
        len(ids) - n_named,
        counted.total(),
        n_reasoned,
        dict(counted),
        seq,
        source.notes if isinstance(source, TableRows) else (),
    )


def _writer(path: Path, suffix: str, schema: pa.Schema) -> pa_csv.CSVWriter | pq.ParquetWriter:
    return pa_csv.CSVWriter(str(path), schema) if suffix == ".csv" else pq.ParquetWriter(str(path), schema)


def _check_forward(workspace: Workspace, as_of_us: int) -> None:
    """Say now, not after an hour of scoring, that the book will be refused."""
    books = list_books(workspace.scores)
    if books and books[-1].as_of_us > as_of_us:
        raise ConfigurationError(
            f"the newest book of scores is as of {format_instant(books[-1].as_of_us)}, later than "
            f"{format_instant(as_of_us)}; score a later instant, or say --no-book for a file alone"
        )


def _book_rows(keys: pa.Array, columns: pa.Table) -> pa.Table:
    told = {"customer_key": keys, "stage": columns["lifecycle_stage"]}
    purchase = "next_purchase_p50"
    told[purchase] = columns[purchase] if purchase in columns.column_names else pa.nulls(len(keys), pa.date32())
    return pa.table({name: told[name] if name in told else columns[name] for name in BOOK.names})


def _book(workspace: Workspace, scoring: BatchScorer, booked: list[pa.Table], progress: Progress) -> int | None:
    if scoring.options.keep_books is None:
        return None
    progress("writing the book of scores")
    release, model = scoring.release, model_of(scoring.release, "churn")
    names: dict[str, dict[str, dict[str, str]]] = {}
    if release.segments is not None:
        for language in LANGUAGES:
            words = release.segments.names(language)
            names[language] = {
                "segment": dict(zip(release.segments.segment_keys, words.segment, strict=True)),
                "stage": dict(zip(STAGES, words.stage, strict=True)),
            }
    facts = BookFacts(
        scoring.source.as_of_us,
        release.name,
        model["name"],
        model["version"],
        release.churn.horizon_days,
        scoring.source.currency,
        names,
    )
    return write_book(workspace.scores, facts, pa.concat_tables(booked), keep=scoring.options.keep_books).seq
