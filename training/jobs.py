"""The jobs behind the command line: read the log, train, judge, record, register.

A job takes paths and settings and gives a frozen result; it prints nothing, but says what it is doing to `progress`.
A model is registered when everything about it is written; a job that is interrupted before leaves a run that says
so, and no version.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

import pyarrow.compute as pc

from features.churn_features import CHURN_FEATURES
from features.customer_view import CustomerView
from features.errors import NotEnoughDataError
from features.event_log import EventLog
from features.instants import format_instant
from features.schema import EVENTS
from features.workspace import Workspace
from training.churn_evaluation import ChurnBacktest, ChurnTraining, backtest_churn, train_churn
from training.churn_plots import churn_pngs
from training.model_card import card_files
from training.model_cards import churn_card
from training.registry import CHURN, ModelVersion, Registry
from training.settings import Settings
from training.tracking import RunLog, open_tracking, recorded_run

__all__ = ["LogData", "Progress", "Trained", "backtest_churn_job", "read_log", "silent", "train_churn_job"]

Progress = Callable[[str], None]
_UNREAD = frozenset({"text", "recommendation_id", "decision_id"})  # columns that neither features nor models read


def silent(_stage: str) -> None:
    """Progress that nobody watches."""


@dataclass(frozen=True, eq=False)
class LogData:
    """The event log as one view.

    version: of the log. end_us: exclusive end, one microsecond after the last event by `occurred_at`.
    known_us: one microsecond after the last event by `recorded_at`: the first instant at which all is known.
    """

    version: int
    n_events: int
    first_us: int
    end_us: int
    known_us: int
    view: CustomerView = field(repr=False)

    def facts(self) -> dict[str, object]:
        """What names the data of a run."""
        return {
            "log_version": self.version,
            "n_events": self.n_events,
            "n_customers": self.view.n_customers,
            "n_items": len(self.view.item_ids),
            "first_event": format_instant(self.first_us),
            "end": format_instant(self.end_us),
        }


@dataclass(frozen=True, eq=False)
class Trained:
    """A registered challenger: its version, figures, the baselines' figures, and the verdicts in words."""

    version: ModelVersion
    run_id: str
    metrics: Mapping[str, float]
    baselines: Mapping[str, Mapping[str, float]]
    sentences: tuple[str, ...]
    report: object = field(repr=False)


def read_log(workspace: Workspace, version: int | None = None) -> LogData:
    """The whole event log of a version (the newest if None), without words and without what models do not read.

    Raises:
        ArtefactError: there is no log, or the version is gone.
        NotEnoughDataError: it holds no event.
    """
    log = EventLog.open(workspace.event_log)
    columns = [name for name in EVENTS.names if name not in _UNREAD]
    events = log.read(columns=columns, version=version)
    if events.num_rows == 0:
        raise NotEnoughDataError("the event log holds 0 events; import some, or simulate a shop")
    occurred = pc.min_max(events["occurred_at"].cast("int64")).as_py()
    recorded = pc.max(events["recorded_at"].cast("int64")).as_py()
    return LogData(
        version=log.version if version is None else version,
        n_events=events.num_rows,
        first_us=occurred["min"],
        end_us=occurred["max"] + 1,
        known_us=recorded + 1,
        view=CustomerView.from_events(events),
    )


def train_churn_job(
    workspace: Workspace, settings: Settings, *, code_version: str, progress: Progress = silent
) -> Trained:
    """Train the churn model on the newest log, judge it beside its baselines, record the run, register a challenger.

    Raises:
        NotEnoughDataError: the log is too short or holds too few customers.
        UnavailableError: the MLflow database is locked; nothing is registered.
    """
    tracking = open_tracking(workspace, wait_seconds=settings.tracking.lock_wait_seconds)
    progress("reading the event log")
    data = read_log(workspace)
    tags = _tags(data, code_version)
    with recorded_run(tracking, CHURN, f"churn, log {data.version}", tags) as run:
        run.params({"data": data.facts(), "churn": dataclasses.asdict(settings.churn)})
        progress("computing features at several cut-offs, fitting and judging the churn model")
        trained = train_churn(data.view, CHURN_FEATURES, settings.churn, observed_until_us=data.end_us)
        progress("recording the run")
        digest = _record_churn(run, trained, tags)
    progress("registering the challenger")
    as_of = format_instant(trained.report.as_of_us)
    version = Registry(tracking).register(CHURN, run.run_id, digest, {**tags, "test_as_of": as_of})
    report = trained.report
    return Trained(version, run.run_id, report.metrics(), report.baseline_metrics(), report.sentences, report)


def backtest_churn_job(workspace: Workspace, settings: Settings, *, progress: Progress = silent) -> ChurnBacktest:
    """Refit and judge the churn model at every cut-off that can be labelled, as if it were then; registers nothing."""
    progress("reading the event log")
    data = read_log(workspace)
    progress("refitting and judging at each cut-off")
    return backtest_churn(data.view, CHURN_FEATURES, settings.churn, observed_until_us=data.end_us)


def _tags(data: LogData, code_version: str) -> dict[str, str]:
    return {
        "log_version": str(data.version),
        "code_version": code_version,
        "fingerprint": CHURN_FEATURES.fingerprint(),
    }


def _record_churn(run: RunLog, trained: ChurnTraining, tags: Mapping[str, str]) -> str:
    report = trained.report
    run.params({"split": {name: str(value) for name, value in trained.split.to_manifest().items()}})
    run.params({"n_training_rows": trained.n_training_rows, "n_calibration_rows": trained.n_calibration_rows})
    run.metrics(report.metrics())
    for name, figures in report.baseline_metrics().items():
        run.metrics(figures, f"baseline.{name}.")
    run.tags({"slice": report.slice_name, "mlflow.note.content": "\n\n".join(report.sentences)})
    pictures = churn_pngs(report)
    run.files("plots", pictures)
    run.files("card", card_files(churn_card(trained, pictures, tags)))
    return run.model_files(trained.model.to_files())
