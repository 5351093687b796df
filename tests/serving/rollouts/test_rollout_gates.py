"""The gates: hand-made figures in; pass, wait, hold or break out."""

import dataclasses
from typing import Any

import pytest

from serving.evidence.confidence_sequences import ArmTotals
from serving.rollouts.arm_figures import N_PROBABILITY_BINS, ArmFigures, latency_bucket
from serving.rollouts.figures import Figures, Outcomes, ScoreSpread
from serving.rollouts.gates import Verdict, judge
from serving.rollouts.plan import Limits, RolloutPlan, Step

NOW_US = 1_700_000_000_000_000
QUICK, SLOW = latency_bucket(0.004), latency_bucket(2.0)


def spread(n: int) -> tuple[int, ...]:
    """n probabilities, as even over the bins as can be."""
    whole, rest = divmod(n, N_PROBABILITY_BINS)
    return tuple(whole + (place < rest) for place in range(N_PROBABILITY_BINS))


def arm(n: int = 1_000, **named: Any) -> ArmFigures:
    """A sound arm of n answers but for what is named."""
    return dataclasses.replace(ArmFigures(n, latency={QUICK: n}, probabilities=spread(n)), **named)


def sales(n: int, n_bought: int, price: float = 1_000.0) -> tuple[ArmTotals, ArmTotals]:
    """Purchases and revenue of n customers, n_bought of whom spend the price."""
    return ArmTotals.of_rate(n, n_bought), ArmTotals(n, n_bought * price, n_bought * price * price)


def outcomes(ours: tuple[int, int], theirs: tuple[int, int]) -> Outcomes:
    (mine, revenue), (its, its_revenue) = sales(*ours), sales(*theirs)
    return Outcomes(mine, its, revenue, its_revenue)


SOUND = Figures(
    arm(),
    arm(),
    newest_us=NOW_US - 5_000_000,
    outcomes=outcomes((1_000, 200), (1_000, 200)),
    challenger_scores=ScoreSpread(100, 3),
    control_scores=ScoreSpread(100, 3),
)


def said(figures: Figures, share: float = 0.25, **limits: Any) -> dict[str, Verdict]:
    plan = RolloutPlan((Step(share, 10.0), *(() if share else (Step(0.5, 10.0),))), Limits(**limits))
    return {one.gate: one for one in judge(plan, plan.steps[0], figures, NOW_US)}


def rulings(figures: Figures, share: float = 0.25, **limits: Any) -> dict[str, str]:
    return {gate: one.ruling for gate, one in said(figures, share, **limits).items()}


def changed(**parts: Any) -> Figures:
    return dataclasses.replace(SOUND, **parts)


def test_two_arms_alike_pass_every_gate() -> None:
    assert set(rulings(SOUND).values()) == {"pass"}


def test_nothing_passes_without_figures() -> None:
    found = rulings(Figures())
    assert set(found.values()) == {"wait"}
    assert "sample_ratio" in found


@pytest.mark.parametrize("age_s", [181, 86_400, -3_600])
def test_figures_that_nobody_adds_to_any_more_hold(age_s: int) -> None:
    assert rulings(changed(newest_us=NOW_US - age_s * 1_000_000))["metrics"] == "hold"


@pytest.mark.parametrize(
    ("mine", "its", "n", "ruling"),
    [
        (0, 0, 199, "wait"),  # 200 of each are wanted
        (0, 0, 200, "pass"),
        (10, 0, 40, "break"),  # so many, and such a share, at once
        (9, 0, 40, "wait"),  # one below so many, and no interval of 40 shows it
        (8, 1, 1_000, "hold"),  # 0.7% more, above what is borne, may be chance
        (60, 1, 1_000, "break"),
        (1, 60, 1_000, "pass"),  # better
        (40, 37, 10_000, "pass"),
    ],
)
def test_errors(mine: int, its: int, n: int, ruling: str) -> None:
    figures = changed(challenger=arm(n, n_errors=mine), control=arm(n, n_errors=its))
    assert rulings(figures)["errors"] == ruling


def test_a_difference_that_is_certain_and_borne_passes() -> None:
    """0.4% against 0.1% of a million is no chance, and below the half percent that is borne."""
    figures = changed(challenger=arm(1_000_000, n_errors=4_000), control=arm(1_000_000, n_errors=1_000))
    found = said(figures)["errors"]
    assert found.ruling == "pass"
    assert found.figures["ci_low"] > 0.0


def test_gross_failure_needs_no_control() -> None:
    assert rulings(Figures(arm(12, n_errors=12), newest_us=NOW_US))["errors"] == "break"


def test_at_a_hundred_percent_an_empty_hold_out_is_not_waited_for() -> None:
    alone = changed(control=ArmFigures(), outcomes=outcomes((900, 90), (0, 0)))
    everybody = rulings(dataclasses.replace(alone, challenger_share=1.0 - 1e-9), 1.0)
    assert (everybody["errors"], everybody["sample_ratio"]) == ("pass", "pass")
    half = rulings(alone, 0.5)
    assert (half["errors"], half["sample_ratio"]) == ("wait", "hold")


@pytest.mark.parametrize(
    ("latency", "ruling"),
    [
        ({QUICK: 1_000}, "pass"),
        ({QUICK: 600, SLOW: 400}, "break"),
        ({QUICK: 989, SLOW: 11}, "hold"),
        ({latency_bucket(0.05): 1_000}, "hold"),  # not slow, but twelve times as long as the control's
    ],
)
def test_latency(latency: dict[int, int], ruling: str) -> None:
    assert rulings(changed(challenger=arm(latency=latency)))["latency"] == ruling


@pytest.mark.parametrize(("field", "gate"), [("n_fallbacks", "fallbacks"), ("n_missing", "missing_features")])
def test_fallbacks_and_missing_features_end_a_rollout_by_an_interval_alone(field: str, gate: str) -> None:
    few, some, many = (changed(challenger=arm(**{field: n}), control=arm(**{field: 100})) for n in (110, 140, 400))
    assert [rulings(one)[gate] for one in (few, some, many)] == ["pass", "hold", "break"]
    as_before = changed(challenger=arm(**{field: 900}), control=arm(**{field: 900}))
    assert rulings(as_before)[gate] == "pass"


def test_scores_that_moved_hold_and_scores_that_moved_very_much_break() -> None:
    half = tuple(40 * (place < 25) for place in range(N_PROBABILITY_BINS))  # the upper half is empty: PSI above 3
    tilted = tuple(10 + 20 * (place >= 25) for place in range(N_PROBABILITY_BINS))  # 250, 750: .25 ln 1.5 + .25 ln 2
    assert rulings(changed(challenger=arm(probabilities=half)))["score_shift"] == "break"
    found = said(changed(challenger=arm(probabilities=tilted)))["score_shift"]
    assert found.ruling == "hold"
    assert found.figures["psi"] == pytest.approx(0.2747, abs=0.005)


def test_a_constant_breaks_where_the_control_tells_customers_apart() -> None:
    same = ScoreSpread(30, 30)
    assert rulings(changed(challenger_scores=same))["constant_scores"] == "break"
    assert rulings(changed(challenger_scores=ScoreSpread(30, 29)))["constant_scores"] == "pass"
    assert rulings(changed(challenger_scores=ScoreSpread(19, 19)))["constant_scores"] == "wait"
    assert rulings(changed(challenger_scores=same, control_scores=same))["constant_scores"] == "hold"


@pytest.mark.parametrize("share", [0.0, 0.25])
def test_a_shop_that_asks_for_no_scores_or_for_batches_alone_is_not_held_up(share: float) -> None:
    idle = arm(probabilities=(0,) * N_PROBABILITY_BINS, latency={})
    figures = changed(challenger=idle, control=idle, challenger_scores=ScoreSpread(), control_scores=ScoreSpread())
    assert set(rulings(figures, share).values()) == {"pass"}
    one_sided = dataclasses.replace(figures, control=arm())
    assert {gate for gate, ruling in rulings(one_sided, 0.25).items() if ruling == "wait"} == {
        "latency",
        "score_shift",
        "constant_scores",
    }


@pytest.mark.parametrize(
    ("ours", "theirs", "ruling"),
    [
        ((1_000, 100), (1_000, 200), "break"),
        ((1_000, 180), (1_000, 200), "hold"),  # 2% fewer may be chance
        ((1_000, 195), (1_000, 200), "pass"),
        ((499, 100), (499, 100), "wait"),
        ((400, 10), (400, 100), "break"),  # a harm is not waited for
        ((0, 0), (0, 0), "wait"),
    ],
)
def test_purchases(ours: tuple[int, int], theirs: tuple[int, int], ruling: str) -> None:
    assert rulings(changed(outcomes=outcomes(ours, theirs)))["purchases"] == ruling


def test_revenue_that_is_shown_to_fall_breaks() -> None:
    assert rulings(changed(outcomes=outcomes((5_000, 500), (5_000, 1_500))))["revenue"] == "break"
    assert rulings(changed(outcomes=outcomes((5_000, 0), (5_000, 0))))["revenue"] == "pass"


def test_arms_that_do_not_fill_as_intended_hold_whatever_else_is_said() -> None:
    figures = changed(outcomes=outcomes((2_760, 900), (3_240, 600)))
    assert rulings(figures)["sample_ratio"] == "hold"
    assert rulings(changed(outcomes=outcomes((3_000, 600), (3_050, 600))))["sample_ratio"] == "pass"
    assert (
        rulings(changed(outcomes=outcomes((7_500, 100), (2_500, 33)), challenger_share=0.75))["sample_ratio"] == "pass"
    )


def test_in_the_shadow_bands_that_move_hold_and_nobody_is_counted() -> None:
    steady = arm(band_moves={"low>low": 900, "low>high": 60, "high>low": 40})
    moved = arm(band_moves={"low>low": 500, "low>high": 500})
    found = rulings(changed(challenger=steady), 0.0)
    assert found["band_moves"] == "pass"
    assert {"sample_ratio", "purchases", "revenue"}.isdisjoint(found)
    held = said(changed(challenger=moved), 0.0)["band_moves"]
    assert held.ruling == "hold"
    assert "50.0% of 1,000 in another band (500 low to high)" in held.words


def test_a_shadow_that_is_asked_too_little_is_not_believed() -> None:
    asked = arm(band_moves={"low>low": 1_000}, n_dropped=9_001)
    assert rulings(changed(challenger=asked), 0.0)["band_moves"] == "hold"


def test_a_constant_shadow_breaks() -> None:
    one_bin = tuple(1_000 * (place == 7) for place in range(N_PROBABILITY_BINS))
    assert rulings(changed(challenger=arm(probabilities=one_bin)), 0.0)["constant_scores"] == "break"
