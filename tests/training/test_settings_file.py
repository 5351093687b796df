from pathlib import Path

import pytest

from features.errors import ConfigurationError
from training.settings import SETTINGS_FILE, Settings, load_settings


def test_without_a_file_the_defaults_hold(tmp_path: Path) -> None:
    assert load_settings(None, tmp_path) == Settings()


def test_the_file_in_the_folder_changes_what_it_names_and_nothing_else(tmp_path: Path) -> None:
    (tmp_path / SETTINGS_FILE).write_text(
        "[churn.problem]\nhorizons_days = [20, 60]\n[churn.trees]\nleaves = 7\n"
        "[promotion.churn]\nmetric = 'average_precision'\n[evaluation]\nhistory_bounds = [1, 5]\n"
    )
    settings = load_settings(None, tmp_path)
    assert settings.churn.label_window_days == 60
    assert settings.churn.trees.leaves == 7
    assert settings.promotion.churn.metric == "average_precision"
    assert settings.evaluation.history_bounds == (1, 5)
    assert settings.churn.gap_days == Settings().churn.gap_days
    assert settings.recommender == Settings().recommender


def test_a_named_file_wins_over_the_one_in_the_folder(tmp_path: Path) -> None:
    (tmp_path / SETTINGS_FILE).write_text("[churn.problem]\ngap_days = 1\n")
    (tmp_path / "other.toml").write_text("[churn.problem]\ngap_days = 2\n")
    assert load_settings(tmp_path / "other.toml", tmp_path).churn.gap_days == 2


def test_a_named_file_that_is_missing_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match=r"no file other\.toml"):
        load_settings(tmp_path / "other.toml", tmp_path)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("[chrun]\ngap_days = 1\n", "unknown setting chrun"),
        ("[churn.problem]\ngap_dais = 1\n", "unknown setting churn.problem.gap_dais"),
        ("[churn.trees]\nleafs = 1\n", "unknown setting churn.trees.leafs"),
        ("[churn.problem]\ngap_days = '1'\n", "churn.problem.gap_days must be int"),
        ("[churn.problem]\ngap_days = -1\n", "gap_days is -1"),
        ("[release.bands]\nhigh_share = 0.9\nmedium_share = 0.2\n", "together below 1"),
        ("[tracking]\nlock_wait_seconds = true\n", "tracking.lock_wait_seconds"),
        ("[churn\n", "is not TOML"),
    ],
)
def test_what_is_wrong_is_named(tmp_path: Path, text: str, message: str) -> None:
    (tmp_path / SETTINGS_FILE).write_text(text)
    with pytest.raises(ConfigurationError, match=message):
        load_settings(None, tmp_path)
