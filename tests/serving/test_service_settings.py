"""Settings of the service come from a mapping; the command that serves carries them and keeps the network out."""

import dataclasses
import re
from pathlib import Path
from typing import Any

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


@pytest.mark.parametrize(
    ("given", "asks"),
    [
        ({}, False),
        ({"host": "localhost"}, False),
        ({"host": "0.0.0.0"}, True),
        ({"host": "10.0.0.7"}, True),
        ({"access": "keys"}, True),
        ({"host": "0.0.0.0", "access": "keys", "allow_open_access": True}, True),
        ({"host": "0.0.0.0", "allow_open_access": True}, False),
        ({"host": "0.0.0.0", "access": "open", "allow_open_access": True}, False),
    ],
)
def test_keys_are_asked_for_wherever_others_could_call(given: dict[str, Any], asks: bool) -> None:
    assert ServiceSettings(Path("shop"), **given).asks_for_keys == asks


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"host": "0.0.0.0", "access": "open"}, "HOLDFAST_ALLOW_OPEN_ACCESS"),
        ({"access": "none"}, "HOLDFAST_ACCESS must be one of keys, open"),
        ({"jwt_algorithm": "RS256", "jwt_key": "key.pem"}, "tokens need all of HOLDFAST_JWT_ALGORITHM"),
        (dict.fromkeys(("jwt_algorithm", "jwt_key", "jwt_audience", "jwt_issuer"), "none"), "HOLDFAST_JWT_ALGORITHM"),
        ({"customer_per_minute": 0}, "at least 1"),
    ],
)
def test_access_that_would_be_open_or_half_set_is_refused(given: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigurationError, match=message):
        ServiceSettings(Path("shop"), **given)


def test_a_number_that_may_be_left_out_is_read_as_a_number() -> None:
    given = {"HOLDFAST_WORKSPACE": "shop", "HOLDFAST_CUSTOMER_PER_MINUTE": "60"}
    assert service_settings(given).customer_per_minute == 60


def test_every_setting_stands_in_the_table_of_operations_and_no_other_anywhere_in_the_documents() -> None:
    known = {f"HOLDFAST_{field.name.upper()}" for field in dataclasses.fields(ServiceSettings)}
    root = Path(__file__).parents[2]
    rows = [line for line in (root / "docs" / "operations.md").read_text().splitlines() if line.startswith("| `HOLD")]
    assert {name for row in rows for name in re.findall(r"HOLDFAST_[A-Z0-9_]+", row.split("|")[1])} == known
    texts = [root / "README.md", *(root / "docs").glob("*.md"), *(root / "deploy").rglob("*.y*ml")]
    assert {name for text in texts for name in re.findall(r"\bHOLDFAST_[A-Z0-9_]+\b", text.read_text())} <= known
