"""All settings of the command line, each defined beside the code that uses it, read from one TOML file.

Every setting has a default, so the file may be absent or name only what differs:

    [churn.problem]
    horizons_days = [20, 40, 60]

    [promotion.churn]
    margin = 0.01
"""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

from features.settings import read_settings, read_toml
from serving.early_warning import WarningRule
from training.churn_settings import ChurnSettings
from training.promotion import PromotionSettings
from training.recommender import RecommenderFitSettings
from training.recommender_evaluation import EvaluationSettings
from training.release_settings import ReleaseSettings
from training.score_settings import ScoreSettings
from training.simulated_shop.settings import SimulationSettings
from training.tuned import TuningSettings

__all__ = ["SETTINGS_FILE", "Settings", "load_settings"]

SETTINGS_FILE = "holdfast.toml"


@dataclass(frozen=True)
class TrackingSettings:
    """lock_wait_seconds: how long a locked MLflow database is waited for before giving up."""

    lock_wait_seconds: float = 5.0


@dataclass(frozen=True)
class Settings:
    """One section a part; see the dataclass of each for what its keys mean."""

    churn: ChurnSettings = field(default_factory=ChurnSettings)
    tuning: TuningSettings = field(default_factory=TuningSettings)
    recommender: RecommenderFitSettings = field(default_factory=RecommenderFitSettings)
    evaluation: EvaluationSettings = field(default_factory=EvaluationSettings)
    promotion: PromotionSettings = field(default_factory=PromotionSettings)
    release: ReleaseSettings = field(default_factory=ReleaseSettings)
    scores: ScoreSettings = field(default_factory=ScoreSettings)
    warnings: WarningRule = field(default_factory=WarningRule)
    tracking: TrackingSettings = field(default_factory=TrackingSettings)
    simulation: SimulationSettings = field(default_factory=SimulationSettings)


def load_settings(path: Path | None, folder: Path) -> Settings:
    """The settings in `path`, or in `folder / holdfast.toml` where there is one, or the defaults.

    Raises:
        ConfigurationError: the named file is missing or no TOML, or a key is unknown or of a wrong type.
    """
    if path is None:
        path = folder / SETTINGS_FILE
        if not path.exists():
            return Settings()
    return read_settings(Settings, read_toml(path))
