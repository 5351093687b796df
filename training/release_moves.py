"""Who changes band between two releases, or two versions of the churn model, and why: the job behind `compare A B`."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv as pa_csv

from features.churn_features import CHURN_FEATURES
from features.errors import ArtefactError, ConfigurationError, NotEnoughDataError
from features.instants import format_instant
from features.tables import IDENTITIES, read_table
from features.workspace import Workspace
from serving.bands import Bands
from serving.churn_model import ChurnModel
from serving.releases import load_named
from training.band_costs import bands_for
from training.band_moves import BANDS, LEVEL, BandMoves, Side, band_moves, causes_of_change, log_odds_of
from training.churn_files import read_churn_parts
from training.churn_judging import reason_groups, reason_sums
from training.churn_problem import ChurnProblem, problem_of
from training.log_data import Progress, silent
from training.reason_stability import ReasonStability, reason_stability
from training.registry import CHAMPION, CHURN, ModelVersion, Registry
from training.score_sources import LogFeatures
from training.settings import Settings
from training.table_comparing import is_table

__all__ = ["Contender", "ReleaseMoves", "compare_releases", "contender", "write_movers"]

Array = npt.NDArray[np.float64]
_CHUNK = 20_000
_REASON_ROWS = 1_000
_FOR_TABLES = (
    "holdfast compare churn A B tells which of two versions is better on the customers kept apart, and holdfast score "
    "--release NAME --no-book FILE writes what either release says of the stored table"
)


@dataclass(frozen=True, eq=False)
class Contender:
    """A release, or a version of the churn model with the bands that a release would give it.

    problem: the question it answers; None where it does not say. version: as registered; None for a release that was
    made elsewhere. of_table: whether it reads a labelled table instead of the event log.
    """

    name: str
    model: ChurnModel
    bands: Bands
    problem: ChurnProblem | None = None
    version: ModelVersion | None = None
    of_table: bool = False

    def require_log(self, command: str, instead: str) -> None:
        """Refuse one that reads a table.

        Raises:
            ConfigurationError: it does; the message says what works for a table `instead`.
        """
        if self.of_table:
            raise ConfigurationError(
                f"{self.name} reads a labelled table, which is of one moment; {command} needs an event log and a model "
                f"of it. For a table: {instead}"
            )


@dataclass(frozen=True, eq=False)
class ReleaseMoves:
    """Who moves between two contenders at one instant.

    customer_keys: object (n,), in the order of `moves`. reasons: how alike the reasons of the two are, over at most
    1,000 of the customers.
    """

    as_of_us: int
    customer_keys: npt.NDArray[np.object_]
    moves: BandMoves
    reasons: ReasonStability

    @property
    def sentences(self) -> tuple[str, ...]:
        """The comparison in words."""
        found = self.reasons
        kept = (
            f"Customers keep {found.top_overlap:.0%} of their first three reasons, {found.same_first:.0%} keep the "
            f"first one; the weights of the reasons have a rank correlation of {found.importance_correlation:.2f}."
        )
        return (*self.moves.sentences, kept)

    def to_json(self) -> dict[str, Any]:
        """The comparison as JSON values; nothing about any one customer."""
        moves = self.moves
        return {
            "first": moves.first.name,
            "second": moves.second.name,
            "as_of": format_instant(self.as_of_us),
            "customers": moves.n,
            "changed": int(moves.changed.sum()),
            "changed_by_cutoffs": int(moves.by_cutoffs.sum()),
            "mean_probability": [float(side.probabilities.mean()) for side in (moves.first, moves.second)],
            "mean_move_abs": float(np.abs(moves.rises).mean()),
            "table": {
                before: dict(zip(BANDS, row, strict=True))
                for before, row in zip(BANDS, moves.table.tolist(), strict=True)
            },
            "transitions": [
                {
                    "before": transition.before,
                    "after": transition.after,
                    "customers": transition.n,
                    "by_cutoffs": transition.by_cutoffs,
                    "mean_rise": transition.rise,
                    "causes": [{"reason": cause.name, "log_odds": cause.moved} for cause in transition.causes],
                }
                for transition in moves.transitions
            ],
            "reasons": {
                "customers": self.reasons.n,
                "first_three_kept": self.reasons.top_overlap,
                "first_kept": self.reasons.same_first,
                "weights_rank_correlation": self.reasons.importance_correlation,
            },
            "sentences": list(self.sentences),
        }


def contender(name: str, workspace: Workspace, registry: Registry, settings: Settings) -> Contender:
    """A release by its name, or a version of the churn model by its number or alias.

    Raises:
        ArtefactError: there is neither, or its files were altered.
    """
    if not (name.isdecimal() or registry.find(CHURN, name) is not None):
        release = load_named(name, workspace)
        made_of = release.manifest["provenance"].get("churn", {}).get("version")
        return Contender(
            release.name,
            release.churn,
            release.bands,
            problem_of(release.manifest["provenance"]),
            None if made_of is None else registry.find(CHURN, int(made_of)),
            release.table is not None,
        )
    version = registry.version(CHURN, name)
    parts = read_churn_parts(registry.files(version))
    bands = bands_for(parts.losses, settings.churn.costs, parts.model.reference, settings.release.bands)
    shown = f"{version.name} {version.version}" + (f" ({CHAMPION})" if CHAMPION in version.aliases else "")
    question = version.tags.get("question")
    problem = None if question is None else ChurnProblem.from_json(question)
    return Contender(shown, parts.model, bands, problem, version, is_table(version))


def compare_releases(
    workspace: Workspace,
    first: Contender,
    second: Contender,
    settings: Settings,
    *,
    as_of_us: int | None = None,
    progress: Progress = silent,
) -> ReleaseMoves:
    """Score the eligible customers with both, as of an instant, by default just after the last recorded event.

    Who is eligible is told by the question that both answer, and by the settings where they do not say.

    Raises:
        ConfigurationError: one reads a labelled table.
        ArtefactError: the two answer different questions, or read another feature set than this code computes.
        NotEnoughDataError: nobody is eligible at that instant.
    """
    _check_comparable(first, second)
    progress("reading the event log")
    asked = replace(settings.churn, problem=first.problem or settings.churn.problem)
    source = LogFeatures.read(workspace, CHURN_FEATURES, asked, as_of_us)
    progress("scoring the same customers with both")
    keys, scored, sample = [], [], None
    for chunk in source.chunks(_CHUNK):
        rows = np.flatnonzero(chunk.eligible)
        if rows.size:
            values = chunk.table.values[rows]
            sample = values[:_REASON_ROWS] if sample is None else sample
            keys.append(chunk.table.customer_keys[rows])
            scored.append(_scored(first, second, values, source.as_of_us))
    if sample is None:
        raise NotEnoughDataError(
            f"0 customers are eligible at {format_instant(source.as_of_us)}; choose another instant"
        )
    ours, theirs, parts = (np.concatenate([one[place] for one in scored]) for place in range(3))
    groups = reason_groups(first.model.feature_names)
    found = band_moves(
        Side(first.name, ours, first.bands), Side(second.name, theirs, second.bands), parts, (*groups, LEVEL)
    )
    kept = reason_stability(reason_sums(first.model, sample), reason_sums(second.model, sample))
    return ReleaseMoves(source.as_of_us, np.concatenate(keys), found, kept)


def write_movers(workspace: Workspace, found: ReleaseMoves, out: Path) -> int:
    """Write the customers who change band as CSV, in the shop's own ids; returns how many.

    Every row names what was compared, and as of when. Who has no known id of the shop is left out. The file appears
    whole or not at all.
    """
    moves = found.moves
    rows = np.flatnonzero(moves.changed)
    identities = read_table(workspace.identities, IDENTITIES)
    keys = pa.array(found.customer_keys[rows].tolist(), pa.string())
    ids = identities["customer_id"].combine_chunks()
    names = ids.take(pc.index_in(keys, identities["customer_key"].combine_chunks()))
    words = np.array(BANDS, dtype=object)
    causes = np.array(moves.cause_names, dtype=object)
    table = pa.table(
        {
            "customer_id": names,
            "band_before": pa.array(words[moves.before[rows]].tolist(), pa.string()),
            "band_after": pa.array(words[moves.after[rows]].tolist(), pa.string()),
            "churn_probability_before": moves.first.probabilities[rows],
            "churn_probability_after": moves.second.probabilities[rows],
            "moved_by": pa.array(np.where(moves.by_cutoffs[rows], "cut-offs", "score").tolist(), pa.string()),
            "main_cause": pa.array(causes[moves.main_cause].tolist(), pa.string()),
            "compared_before": pa.repeat(moves.first.name, rows.size),
            "compared_after": pa.repeat(moves.second.name, rows.size),
            "as_of": pa.repeat(format_instant(found.as_of_us), rows.size),
        }
    )
    known = table.filter(pc.is_valid(table["customer_id"]))
    out.parent.mkdir(parents=True, exist_ok=True)
    staged = out.with_name(f".{out.name}.part")
    try:
        pa_csv.write_csv(known, staged)
        staged.replace(out)
    finally:
        staged.unlink(missing_ok=True)
    return int(known.num_rows)


def _check_comparable(first: Contender, second: Contender) -> None:
    for one in (first, second):
        one.require_log("comparing bands", _FOR_TABLES)
        if one.model.fingerprint != CHURN_FEATURES.fingerprint():
            raise ArtefactError(
                f"{one.name} reads feature set {one.model.fingerprint[:12]}, this code computes "
                f"{CHURN_FEATURES.fingerprint()[:12]}; to score the same customers both must read that"
            )
    asked = [(one.model.awaits, one.model.horizon_days, one.model.gap_days) for one in (first, second)]
    same = first.problem is None or second.problem is None or first.problem.asks_the_same(second.problem)
    if asked[0] != asked[1] or not same:
        told = [one.problem.sentence() if one.problem else f"{one.model.horizon_days} days" for one in (first, second)]
        raise ArtefactError(
            f"{first.name} tells of {told[0]}, {second.name} of {told[1]}: they answer different questions, so their "
            "bands cannot be compared"
        )


def _scored(first: Contender, second: Contender, values: Array, as_of_us: int) -> tuple[Array, Array, Array]:
    """Probabilities of both, float64 (n,), and of those who change band the parts of the change, float64 (m, c)."""
    margins = first.model.margins(values), second.model.margins(values)
    before, after = first.model.calibrated(margins[0], as_of_us), second.model.calibrated(margins[1], as_of_us)
    changed = np.flatnonzero(Side("", before, first.bands).codes != Side("", after, second.bands).codes)
    between = first.model.calibrated(margins[1][changed], as_of_us)
    parts = causes_of_change(
        (_groups(first.model, values[changed]), _groups(second.model, values[changed])),
        (log_odds_of(before[changed]), log_odds_of(between), log_odds_of(after[changed])),
    )
    return before, after, parts


def _groups(model: ChurnModel, values: Array) -> Array:
    """What each group of features adds to the margin, and what no feature does, float64 (n, g + 1)."""
    if values.shape[0] == 0:
        return np.zeros((0, len(reason_groups(model.feature_names)) + 1))
    sums = reason_sums(model, values)
    return np.column_stack([sums, model.margins(values) - sums.sum(axis=1)])
