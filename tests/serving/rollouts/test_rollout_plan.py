"""Plans: what is shipped, what is refused by name, and what is kept with a rollout."""

from pathlib import Path
from typing import Any

import pytest

from features.errors import ConfigurationError
from serving.rollouts.plan import SEQUENTIAL, Limits, RolloutPlan, Step, load_plan, shipped_plans


def test_the_shipped_plan_goes_from_a_shadow_to_everybody_and_asks_a_person() -> None:
    assert shipped_plans() == ("default",)
    plan = load_plan()
    assert [step.share for step in plan.steps] == [0.0, 0.01, 0.05, 0.25, 0.5, 1.0]
    assert (plan.steps[0].bake_minutes, plan.steps[0].enough_requests) == (60.0, 20_000)
    assert [step.name for step in plan.steps] == ["shadow", "1%", "5%", "25%", "50%", "100%"]
    assert [step.share for step in plan.steps if step.approve] == [0.5]
    assert plan.limits == Limits()


def test_a_plan_is_kept_as_it_was_started() -> None:
    assert RolloutPlan.from_json(load_plan().to_json()) == load_plan()


def test_all_gates_that_end_a_rollout_by_an_interval_spend_its_alpha_together() -> None:
    plan = load_plan()
    n_gates = sum(len(SEQUENTIAL & set(step.gates)) for step in plan.steps)
    assert n_gates == 4 + 4 + 4 + 6 + 6 + 4
    assert plan.alpha_a_gate * n_gates == pytest.approx(0.05)


@pytest.mark.parametrize(
    ("text", "match"),
    [
        ("[[stepps]]\nshare = 0.1", "stepps"),
        ("[[steps]]\nshare = 0.1\nbake_minutes = 1\nbake = 2", r"plan.steps\[0\].bake;"),
        ("[[steps]]\nshare = 0.1", "bake_minutes"),
        ('[[steps]]\nshare = 0.1\nbake_minutes = 1\ngates = ["erors"]', "known: errors"),
        ('[[steps]]\nshare = 0.1\nbake_minutes = 1\ngates = ["band_moves"]', "a step with a share has no gate"),
        ("[[steps]]\nshare = 1.1\nbake_minutes = 1", r"a share in \[0, 1\]"),
        ("[[steps]]\nshare = 0.1\nbake_minutes = nan", "bake_minutes"),
        ("[[steps]]\nshare = 0\nbake_minutes = 1", "the last with a share above 0"),
        ("[[steps]]\nshare = 0.5\nbake_minutes = 1\n[[steps]]\nshare = 0.5\nbake_minutes = 1", "rise"),
        ("steps = []", "at least one"),
        ("[limits]\nalpha = 0\n[[steps]]\nshare = 1.0\nbake_minutes = 1", "limits.alpha"),
        ("[limits]\nalhpa = 0.1\n[[steps]]\nshare = 1.0\nbake_minutes = 1", "limits.alhpa"),
        ("[limits]\nmetrics_stale_s = 1\n[[steps]]\nshare = 1.0\nbake_minutes = 1", "metrics_stale_s"),
    ],
)
def test_a_plan_that_cannot_be_followed_is_refused_by_name(tmp_path: Path, text: str, match: str) -> None:
    path = tmp_path / "own.toml"
    path.write_text(text)
    with pytest.raises(ConfigurationError, match=match):
        load_plan(path)


@pytest.mark.parametrize("name", ["nonesuch", "own.json"])
def test_a_plan_that_is_not_there_is_named_with_those_that_are(name: Any) -> None:
    with pytest.raises(ConfigurationError, match="shipped: default"):
        load_plan(name)


def test_a_step_without_named_gates_asks_all_of_its_kind() -> None:
    assert "band_moves" in Step(0.0, 1.0).gates
    assert {"purchases", "revenue"} <= set(Step(0.1, 1.0).gates)
