"""Settings of the service come from a mapping; the command that serves carries them and keeps the network out."""

from pathlib import Path

import pytest

from features.errors import ConfigurationError
from serving.settings import ServiceSettings, serve_command, service_settings


def test_settings_survive_the_way_through_the_environment(tmp_path: Path) -> None:
    settings = ServiceSettings(tmp_path, release="r-1", port=8123, workers=2, reasons_count=5)
    assert service_settings(serve_command(settings).env) == settings


def test_telemetry_is_off_in_the_command(tmp_path: Path) -> None:
    env = serve_command(ServiceSettings(tmp_path)).env
    assert (env["BENTOML_DO_NOT_TRACK"], env["MLFLOW_DISABLE_TELEMETRY"]) == ("True", "true")
    assert env["BENTOML_HOME"] == str(tmp_path / "bentoml")


@pytest.mark.parametrize(
    ("name", "value", "message"),
    [
        ("HOLDFAST_PORT", "x", "HOLDFAST_PORT must be a whole number"),
        ("HOLDFAST_PORT", "0", "at least 1"),
        ("HOLDFAST_PORT", "70000", "at most 65535"),
        ("HOLDFAST_PROT", "1", "unknown setting HOLDFAST_PROT"),
    ],
)
def test_a_wrong_setting_is_refused_by_name(name: str, value: str, message: str) -> None:
    with pytest.raises(ConfigurationError, match=message):
        service_settings({"HOLDFAST_WORKSPACE": "shop", name: value})


def test_the_workspace_must_be_given() -> None:
    with pytest.raises(ConfigurationError, match="HOLDFAST_WORKSPACE"):
        service_settings({"PATH": "/bin"})
