"""A baseline, released for want of data, says over HTTP that it is one, and what is lacking."""

from dataclasses import replace
from typing import Any

import pytest

from serving.settings import ServiceSettings
from tests.serving.conftest import Running
from tests.tiny_shop import TinyShop, churn_model, edit_manifest

GATE = "312 churners, need 500; extend the history or shorten the horizon."


@pytest.fixture
def baseline(shop: TinyShop) -> Running:
    shop.release("meanwhile", churn=replace(churn_model(0.0), baseline=True))
    return Running(shop, ServiceSettings(shop.workspace.root, release="meanwhile", rollout_poll_ms=20))


def asked(running: Running) -> Any:
    body = running.call("GET", "/v1/customers/c39/churn").json()
    return body["model"]["baseline"], body["data_quality"]["gate"]


def test_a_full_model_has_passed_the_data_gate(running: Running) -> None:
    assert asked(running) == (False, "passed")


def test_a_baseline_is_marked_and_says_what_is_lacking(baseline: Running) -> None:
    folder = baseline.shop.workspace.releases / "meanwhile"
    edit_manifest(folder, lambda manifest: manifest["provenance"]["churn"].update(gate=GATE))
    assert asked(baseline) == (True, GATE)


def test_a_baseline_of_unknown_making_is_marked_all_the_same(baseline: Running) -> None:
    assert asked(baseline) == (True, "too few customers for a full model")


def test_the_release_manifest_says_that_it_holds_a_baseline(baseline: Running) -> None:
    folder = baseline.shop.workspace.releases
    told = []
    for name in ("first", "meanwhile"):
        edit_manifest(folder / name, lambda manifest: told.append(manifest["churn"]["baseline"]))
    assert told == [False, True]
