import math

import pytest

from training.promotion import Measured, PromotionRule, decide, force

RULE = PromotionRule("auc", margin=0.01, not_worse_by=0.005)
BASELINES = {
    "recency": {"auc": 0.70, "auc_difference_ci_low": 0.08, "auc_difference_ci_high": 0.12},
    "logistic": {"auc": 0.75, "auc_difference_ci_low": 0.03, "auc_difference_ci_high": 0.07},
}
BOUNDS = {f"baseline.{name}.{key}": value for name, row in BASELINES.items() for key, value in row.items()}
WORSE = {"logistic": {"auc": 0.75, "auc_difference_ci_low": -0.02, "auc_difference_ci_high": -0.005}}
AS_GOOD = {"logistic": {"auc": 0.75, "auc_difference_ci_low": -0.01, "auc_difference_ci_high": 0.03}}


def measured(name: str, auc: float, slice_name: str = "log 7 at 2026-01-01") -> Measured:
    return Measured(name, slice_name, {"auc": auc})


def test_the_first_model_that_beats_its_baselines_is_promoted() -> None:
    decision = decide(measured("v1", 0.80), None, BASELINES, RULE)
    assert decision.promote
    assert decision.reasons == (
        "beats the baseline logistic: auc 0.8000 against 0.7500, difference from +0.0300 to +0.0700 (95%)",
        "beats the baseline recency: auc 0.8000 against 0.7000, difference from +0.0800 to +0.1200 (95%)",
        "there is no champion yet",
    )
    assert decision.figures == {"challenger.auc": 0.80, **BOUNDS}


def test_a_model_that_does_not_beat_a_baseline_is_not_promoted_and_the_reason_says_so() -> None:
    decision = decide(measured("v1", 0.74), None, WORSE, RULE)
    assert not decision.promote
    assert decision.reasons[0] == (
        "does not beat the baseline logistic: auc 0.7400 against 0.7500, difference from -0.0200 to -0.0050 (95%)"
    )


def test_a_lead_that_chance_explains_promotes_by_the_figure_and_is_not_called_a_victory() -> None:
    decision = decide(measured("v1", 0.76), None, AS_GOOD, RULE)
    assert decision.promote
    assert decision.reasons[0] == (
        "ahead of the baseline logistic by the figure, which decides, but the difference cannot be told from chance: "
        "auc 0.7600 against 0.7500, difference from -0.0100 to +0.0300 (95%)"
    )
    behind = decide(measured("v1", 0.745), None, AS_GOOD, RULE)
    assert not behind.promote
    assert behind.reasons[0].startswith(
        "not ahead of the baseline logistic by the figure, which decides, but the difference cannot be told from chance"
    )


def test_a_baseline_without_an_interval_is_said_to_be_compared_by_the_figure_alone() -> None:
    decision = decide(measured("v1", 0.80), None, {"recency": {"auc": 0.70}}, RULE)
    assert decision.reasons[0] == (
        "beats the baseline recency by the figure, whose difference has no interval: auc 0.8000 against 0.7000"
    )
    assert decision.figures == {"challenger.auc": 0.80, "baseline.recency.auc": 0.70}


@pytest.mark.parametrize(
    ("difference", "said"),
    [
        ((0.004, 0.021), "better: auc 0.8125 against 0.8000 of the champion v1, a gain of 0.0125 (asked: 0.0100), "),
        ((-0.002, 0.027), "better by the figure, which decides, but the difference cannot be told from chance: auc"),
        ((0.0, 0.027), "better by the figure, which decides, but the difference cannot be told from chance: auc"),
        ((math.nan, math.nan), "better by the figure, whose difference has no interval: auc 0.8125 against 0.8000"),
    ],
)
def test_a_gain_over_the_champion_is_called_better_only_if_chance_does_not_explain_it(
    difference: tuple[float, float], said: str
) -> None:
    decision = decide(measured("v2", 0.8125), measured("v1", 0.80), {}, RULE, difference)
    assert decision.promote
    assert decision.reasons[-1].startswith(said)
    kept = [decision.figures.get(f"difference_ci_{end}") for end in ("low", "high")]
    assert kept == ([None, None] if math.isnan(difference[0]) else list(difference))


def test_equal_to_a_baseline_does_not_beat_it() -> None:
    assert not decide(measured("v1", 0.75), None, BASELINES, RULE).promote


def test_a_gain_of_the_margin_promotes_and_a_smaller_one_does_not() -> None:
    # 0.8125 - 0.8 = 0.0125 >= 0.01; 0.805 - 0.8 = 0.005 < 0.01
    assert decide(measured("v2", 0.8125), measured("v1", 0.80), {}, RULE).promote
    assert not decide(measured("v2", 0.805), measured("v1", 0.80), {}, RULE).promote


def test_without_a_margin_an_equal_challenger_does_not_replace_the_champion() -> None:
    assert not decide(measured("v2", 0.80), measured("v1", 0.80), {}, PromotionRule("auc")).promote


def test_shown_not_to_be_worse_promotes() -> None:
    # the difference lies above -0.004, and -0.005 is allowed
    decision = decide(measured("v2", 0.801), measured("v1", 0.80), {}, RULE, difference=(-0.004, 0.006))
    assert decision.promote
    assert decision.figures["gain_ci_low"] == -0.004
    assert not decide(measured("v2", 0.801), measured("v1", 0.80), {}, RULE, difference=(-0.006, 0.008)).promote


def test_where_lower_is_better_the_signs_turn() -> None:
    rule = PromotionRule("brier", margin=0.01, not_worse_by=0.005)

    def brier(name: str, value: float) -> Measured:
        return Measured(name, "log 3 at 2025-06-01", {"brier": value})

    assert decide(brier("v2", 0.20), brier("v1", 0.25), {"b": {"brier": 0.3}}, rule).promote
    assert not decide(brier("v2", 0.30), brier("v1", 0.25), {}, rule).promote
    # challenger minus champion is at most +0.004, so it is worse by at most 0.004
    assert decide(brier("v2", 0.25), brier("v1", 0.25), {}, rule, difference=(-0.01, 0.004)).promote


def test_figures_of_different_slices_are_not_compared() -> None:
    decision = decide(measured("v2", 0.9), measured("v1", 0.7, "log 3 at 2025-01-01"), {}, RULE)
    assert not decision.promote
    assert "not comparable" in decision.reasons[-1]


@pytest.mark.parametrize("undefined", [math.nan, math.inf])
def test_an_undefined_figure_never_promotes(undefined: float) -> None:
    assert not decide(measured("v2", undefined), None, {}, RULE).promote
    assert not decide(measured("v2", 0.9), measured("v1", undefined), {}, RULE).promote
    assert not decide(measured("v2", 0.8), measured("v1", 0.8), {}, RULE, difference=(math.nan, math.nan)).promote
    assert not decide(Measured("v2", "s", {}), None, {}, RULE).promote


def test_a_forced_promotion_keeps_the_figures_that_spoke_against_it() -> None:
    decision = force(decide(measured("v1", 0.74), None, WORSE, RULE), "the logistic model cannot be explained")
    assert decision.promote
    assert decision.forced
    assert decision.reasons[0].startswith("does not beat the baseline logistic: auc 0.7400 against 0.7500")
    assert decision.reasons[-1] == "forced: the logistic model cannot be explained"


def test_forcing_what_would_be_promoted_anyway_is_not_marked_forced() -> None:
    decision = force(decide(measured("v1", 0.80), None, BASELINES, RULE), "we like it")
    assert decision.promote
    assert not decision.forced


def test_forcing_needs_a_reason() -> None:
    with pytest.raises(ValueError, match="needs a reason"):
        force(decide(measured("v1", 0.80), None, {}, RULE), "  ")
