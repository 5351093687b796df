"""The jobs behind the command line: read the log, train, judge, record, register.

A job takes paths and settings and gives a frozen result; it prints nothing, but says what it is doing to `progress`.
A model is registered when everything about it is written; a job that is interrupted before leaves a run that says
so, and no version.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from features.churn_features import CHURN_FEATURES
from features.errors import NotEnoughDataError
from features.instants import DAY_US, format_instant
from features.schema import ITEMS
from features.tables import read_table
from features.workspace import Workspace
from training.churn_backtest import ChurnBacktest, backtest_churn
from training.churn_evaluation import train_churn
from training.churn_problem import ChurnProblem
from training.churn_recording import record_backtest_run, record_churn
from training.customer_traits import read_traits
from training.cutoffs import TimeSplit, backtest_cutoffs
from training.log_data import LogData, Progress, read_log, silent
from training.model_card import card_files
from training.recommender_card import recommender_card
from training.recommender_evaluation import RecommenderTraining, backtest_recommender, train_recommender
from training.recommender_plots import recommender_pngs
from training.recommender_report import RecommenderReport
from training.registry import CHURN, RECOMMENDER, ModelVersion, Registry
from training.segmenting import segment_customers
from training.settings import Settings
from training.tracking import RunLog, open_tracking, recorded_run
from training.tuned import Tuner

__all__ = [
    "Backtested",
    "LogData",
    "Progress",
    "Trained",
    "backtest_churn_job",
    "read_log",
    "silent",
    "train_churn_job",
]


@dataclass(frozen=True, eq=False)
class Trained:
    """A registered challenger: its version, figures, the baselines' figures, and the verdicts in words."""

    version: ModelVersion
    run_id: str
    metrics: Mapping[str, float]
    baselines: Mapping[str, Mapping[str, float]]
    sentences: tuple[str, ...]
    report: object = field(repr=False)


@dataclass(frozen=True, eq=False)
class Backtested:
    """A backtest as recorded: its run, and the card to read."""

    backtest: ChurnBacktest
    run_id: str
    card: Path


def train_churn_job(
    workspace: Workspace,
    settings: Settings,
    *,
    code_version: str,
    backtest: bool = False,
    tuner: Tuner | None = None,
    progress: Progress = silent,
) -> Trained:
    """Train the churn model on the newest log, judge it beside its baselines, record the run, register a challenger.

    With `backtest` the recipe is judged at several cut-offs too, and the card tells. `tuner` searches for better
    settings first; Ctrl-C while it does ends the search and keeps the best.

    Raises:
        NotEnoughDataError: the log is too short or holds too few customers.
        UnavailableError: the MLflow database is locked; nothing is registered.
    """
    tracking = open_tracking(workspace, wait_seconds=settings.tracking.lock_wait_seconds)
    progress("reading the event log")
    data = read_log(workspace)
    tags = _tags(data, code_version) | question_tags(settings.churn.problem)
    with recorded_run(tracking, CHURN, f"churn, log {data.version}", tags) as run:
        run.params({"data": data.facts(), "churn": dataclasses.asdict(settings.churn)})
        progress("computing features at several cut-offs, fitting and judging the churn model")
        traits = read_traits(workspace.customers, data.view.customer_keys)
        trained = train_churn(
            data.view, CHURN_FEATURES, settings.churn, observed_until_us=data.end_us, traits=traits, tuner=tuner
        )
        held = _backtest(workspace, data, settings, None, progress) if backtest else None
        progress("fitting segments")
        segmented = segment_customers(
            data.view, CHURN_FEATURES, trained.report.as_of_us, settings.churn, observed_until_us=data.end_us
        )
        progress("recording the run")
        tags |= trained.findings.tags() | {"drift_digest": trained.reference.digest}
        said = tags | {"question": settings.churn.problem.sentence()}
        digest = record_churn(run, trained, said, held, segmented)
    progress("registering the challenger")
    report = trained.report
    learnt_until = format_instant(_learnt_until(trained.split, settings))
    tags |= {"test_as_of": format_instant(report.as_of_us), "learnt_until": learnt_until}
    version = Registry(tracking).register(CHURN, run.run_id, digest, tags)
    return Trained(version, run.run_id, report.metrics(), report.baseline_metrics(), trained.sentences, report)


def train_recommender_job(
    workspace: Workspace, settings: Settings, *, code_version: str, progress: Progress = silent
) -> Trained:
    """Judge the recommender out of time beside its baselines, fit it on the whole log, record, register a challenger.

    Raises:
        NotEnoughDataError: there is nothing to learn from before the test, or nobody to judge by.
        UnavailableError: the MLflow database is locked; nothing is registered.
    """
    tracking = open_tracking(workspace, wait_seconds=settings.tracking.lock_wait_seconds)
    progress("reading the event log")
    data = read_log(workspace)
    tags = _tags(data, code_version)
    with recorded_run(tracking, RECOMMENDER, f"recommender, log {data.version}", tags) as run:
        run.params({"data": data.facts(), "recommender": dataclasses.asdict(settings.recommender)})
        run.params({"evaluation": dataclasses.asdict(settings.evaluation)})
        progress("judging the recommender out of time, then fitting it on the whole log")
        trained = train_recommender(
            data.view,
            settings.recommender,
            settings.evaluation,
            observed_until_us=data.end_us,
            items=read_table(workspace.items, ITEMS),
        )
        progress("recording the run")
        digest = _record_recommender(run, trained, tags)
    progress("registering the challenger")
    report = trained.report
    tags |= {"test_as_of": format_instant(report.as_of_us), "learnt_until": format_instant(data.end_us)}
    version = Registry(tracking).register(RECOMMENDER, run.run_id, digest, tags)
    return Trained(
        version,
        run.run_id,
        recommender_metrics(report),
        recommender_baselines(report),
        recommender_sentences(report),
        report,
    )


def recommender_metrics(report: RecommenderReport) -> dict[str, float]:
    """Ours over all customers, by the plain names of the figures; undefined figures are NaN."""
    ours = report.of("ours")
    return {
        "ndcg_at_10": ours.ndcg_at_10.mean,
        "ndcg_at_10_ci_low": ours.ndcg_at_10.ci_low,
        "ndcg_at_10_ci_high": ours.ndcg_at_10.ci_high,
        "recall_at_10": ours.recall_at_10.mean,
        "recall_at_20": ours.recall_at_20.mean,
        "map_at_10": ours.map_at_10.mean,
        "hit_rate_at_10": ours.hit_rate_at_10.mean,
        "coverage_at_10": ours.coverage_at_10,
        "n_customers": float(ours.n_customers),
    }


def recommender_baselines(report: RecommenderReport) -> dict[str, dict[str, float]]:
    """The figures of the two rules that a recommender must beat, and the interval of our NDCG@10 minus theirs."""
    names = ("ndcg_at_10", "recall_at_10", "recall_at_20", "map_at_10", "hit_rate_at_10")
    found = {
        source: {name: getattr(report.of(source), name).mean for name in names}
        for source in ("popularity", "buy_again")
    }
    for gain in report.gains:
        if gain.segment == "all" and gain.over in found:
            low, high = gain.gain_abs.ci_low, gain.gain_abs.ci_high
            found[gain.over] |= {"ndcg_at_10_difference_ci_low": low, "ndcg_at_10_difference_ci_high": high}
    return found


def recommender_sentences(report: RecommenderReport) -> tuple[str, ...]:
    """How ours did against each baseline, in words."""
    return tuple(_gain_sentence(report, gain.over, gain.segment) for gain in report.gains if gain.segment == "all")


def _gain_sentence(report: RecommenderReport, over: str, segment: str) -> str:
    gain = report.gain_over(over, segment)
    low, high = gain.gain_abs.ci_low, gain.gain_abs.ci_high
    verdict = "beats" if low > 0 else "loses to" if high < 0 else "is not distinguishable from"
    relative = "" if gain.gain_rel != gain.gain_rel else f", {gain.gain_rel:+.0%}"
    return (
        f"The recommender {verdict} {over.replace('_', ' ')}: NDCG@10 difference {gain.gain_abs.mean:+.4f} "
        f"(95% interval {low:+.4f} to {high:+.4f}{relative})."
    )


def backtest_recommender_job(
    workspace: Workspace, settings: Settings, *, cutoffs: int = 3, progress: Progress = silent
) -> tuple[RecommenderReport, ...]:
    """Fit and judge the recommender at several cut-offs, `label_days` apart, the last of which can just be judged.

    Raises:
        NotEnoughDataError: the log is shorter than that.
    """
    progress("reading the event log")
    data = read_log(workspace)
    step = settings.evaluation.label_days * DAY_US
    chosen = [data.end_us - step * (place + 1) for place in reversed(range(cutoffs))]
    if chosen[0] <= data.first_us:
        raise NotEnoughDataError(
            f"the log covers {(data.end_us - data.first_us) / DAY_US:.0f} days; {cutoffs} cut-offs of "
            f"{settings.evaluation.label_days} days need more; ask for fewer"
        )
    progress(f"fitting and judging at {cutoffs} cut-offs")
    items = read_table(workspace.items, ITEMS)
    return backtest_recommender(data.view, chosen, settings.recommender, settings.evaluation, items=items)


def backtest_churn_job(
    workspace: Workspace,
    settings: Settings,
    *,
    code_version: str,
    cutoffs: int | None = None,
    progress: Progress = silent,
) -> Backtested:
    """Refit and judge the churn model at several cut-offs, as if it were then; record it, register nothing.

    `cutoffs`: how many, by default at least 6 where the log allows and at most 8.

    Raises:
        NotEnoughDataError: no cut-off can be judged.
        UnavailableError: the MLflow database is locked.
    """
    tracking = open_tracking(workspace, wait_seconds=settings.tracking.lock_wait_seconds)
    progress("reading the event log")
    data = read_log(workspace)
    tags = _tags(data, code_version) | question_tags(settings.churn.problem)
    with recorded_run(tracking, CHURN, f"backtest, log {data.version}", tags) as run:
        run.params({"data": data.facts(), "churn": dataclasses.asdict(settings.churn)})
        done = _backtest(workspace, data, settings, cutoffs, progress)
        record_backtest_run(run, done)
    return Backtested(done, run.run_id, run.folder / "card" / "card.html")


def _backtest(
    workspace: Workspace, data: LogData, settings: Settings, cutoffs: int | None, progress: Progress
) -> ChurnBacktest:
    chosen = None
    if cutoffs is not None:
        chosen = backtest_cutoffs(data.first_us, data.end_us, settings.churn, least=cutoffs, most=cutoffs)
    return backtest_churn(
        data.view,
        CHURN_FEATURES,
        settings.churn,
        chosen,
        observed_until_us=data.end_us,
        traits=read_traits(workspace.customers, data.view.customer_keys),
        progress=progress,
    )


def question_tags(problem: ChurnProblem) -> dict[str, str]:
    """What a run and a version of the churn model say of the question they answer."""
    return {"problem": problem.name, "question": problem.to_json()}


def _tags(data: LogData, code_version: str) -> dict[str, str]:
    return {
        "log_version": str(data.version),
        "code_version": code_version,
        "fingerprint": CHURN_FEATURES.fingerprint(),
    }


def _learnt_until(split: TimeSplit, settings: Settings) -> int:
    """The end of the last label window that fitting or calibration looked into."""
    return max(*split.train, split.calibration) + settings.churn.horizon_us


def _record_recommender(run: RunLog, trained: RecommenderTraining, tags: Mapping[str, str]) -> str:
    report = trained.report
    blends = {"blend": report.blend, "blend_of_new_items": report.new or report.blend}
    said = {name: " ".join(f"{one} {weight:.3g}" for one, weight in of.items()) for name, of in blends.items()}
    run.params(
        {
            **said,
            "order": "ranker" if report.ranker is not None and report.ranker.used else "blend",
            "n_items": report.n_items,
        }
    )
    run.metrics({**report.metrics(), **recommender_metrics(report)})
    for name, figures in recommender_baselines(report).items():
        run.metrics(figures, f"baseline.{name}.")
    sentences = recommender_sentences(report)
    run.tags({"mlflow.note.content": "\n\n".join(sentences)})
    pictures = recommender_pngs(report)
    run.files("plots", pictures)
    run.files("card", card_files(recommender_card(trained, sentences, pictures, tags)))
    return run.model_files(trained.recommender.to_files())
