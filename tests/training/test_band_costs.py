import math

import numpy as np
import pytest

from features.churn_features import CHURN_FEATURES
from features.errors import ArtefactError, ConfigurationError
from serving.bands import BandChoice, Bands
from tests.tiny_shop import churn_model
from training.band_costs import LossCurve, bands_for, bands_from_costs, calibration_probabilities, loss_curve
from training.cost_settings import CostSettings
from training.release_settings import BandSettings

SAID = np.array([0.9, 0.8, 0.6, 0.5, 0.3, 0.1])
VALUE = np.array([10_000.0, 10_000.0, 10_000.0, 10_000.0, 10_000.0, 10_000.0])


def curve(said=SAID, value=VALUE, **changes):
    found = loss_curve(said, value, **{"horizon_days": 90, "n_eligible": said.size, **changes})
    assert found is not None
    return found


def costs(**changes):
    """Of 10,000 minor units .5 stay with the shop and .2 is saved: an offer to a sure leaver keeps 1,000."""
    return CostSettings(**{"margin_share": 0.5, "save_rate": 0.2, "offer_minor": 550, **changes})


def test_high_is_where_an_offer_repays_its_cost():
    # gains: 900 - 550, 800 - 550, 600 - 550, 500 - 550, ... so three are treated: 350 + 250 + 50
    bands = bands_from_costs(curve(), costs())

    assert bands.high == 0.6
    assert bands.choice.figures["expected_profit_minor"] == pytest.approx(650)
    assert bands.choice.figures["n_high"] == 3


def test_break_even_is_the_cost_over_what_is_kept():
    # 550 / 1,000: .6 is treated, .5 is not
    bands = bands_from_costs(curve(), costs())

    assert [bands.of(p) for p in (0.6, 0.54)] == ["high", "medium"]


def test_medium_repays_a_contact_at_half_the_cost():
    # at 275 a contact the customers of .5 and .3 gain 225 and 25, the one of .1 loses 175
    assert bands_from_costs(curve(), costs()).medium == 0.3


def test_capacity_makes_high_smaller_and_leaves_the_others_to_medium():
    bands = bands_from_costs(curve(), costs(total_capacity=2))

    assert (bands.medium, bands.high) == (0.3, 0.8)
    assert "as many as capacity allows" in bands.choice.sentence
    assert bands.choice.figures["capacity"] == 2


def test_weekly_capacity_is_that_of_all_weeks_of_the_horizon():
    # 14 days are two weeks of one customer each
    assert bands_from_costs(curve(horizon_days=14), costs(weekly_capacity=1)).high == 0.8
    assert costs(weekly_capacity=7, total_capacity=80).capacity(90) == 80
    assert costs(weekly_capacity=7).capacity(90) == 90
    assert costs().capacity(90) == math.inf


def test_capacity_counts_all_who_can_be_scored_though_the_slice_is_a_part_of_them():
    # the slice is a tenth of 60 customers: capacity for 25 of them is 2 of the slice
    bands = bands_from_costs(curve(n_eligible=60), costs(total_capacity=25))

    assert bands.high == 0.8
    assert bands.choice.figures["n_high"] == 20
    assert bands.choice.figures["expected_profit_minor"] == pytest.approx(6_000)


def test_customers_of_little_worth_do_not_keep_the_worthy_behind_them_out():
    # the riskiest is worth nothing: -550; the others 250 + 50, so the sum is greatest with the first three but below 0
    value = VALUE.copy()
    value[0] = 0.0

    assert bands_from_costs(curve(value=value), costs()).high == 1.0
    # at 500 an offer: -500 + 300 + 100 is still below 0; at 400: -400 + 400 + 200 + 100 = 300
    assert bands_from_costs(curve(value=value), costs(offer_minor=500)).high == 1.0
    bands = bands_from_costs(curve(value=value), costs(offer_minor=400))
    assert bands.high == 0.5
    assert bands.choice.figures["expected_profit_minor"] == pytest.approx(300)


def test_nobody_is_high_where_no_offer_pays_and_this_is_said():
    bands = bands_from_costs(curve(), costs(offer_minor=5_000))

    assert (bands.medium, bands.high) == (1.0, 1.0)
    assert bands.choice.sentence.startswith("Nobody is high")
    assert bands.choice.figures["expected_profit_minor"] == 0


def test_cheaper_contact_is_never_offered_to_fewer():
    rng = np.random.default_rng(4)
    for _ in range(50):
        some = curve(rng.random(40), rng.lognormal(8, 1, 40))
        bands = bands_from_costs(some, costs(offer_minor=int(rng.integers(10, 800)), total_capacity=15))
        assert bands.medium <= bands.high


def test_customers_of_equal_probability_are_taken_together():
    assert curve(np.array([0.9, 0.9, 0.5]), VALUE[:3]).probability.tolist() == [0.9, 0.5]


def test_curve_of_many_customers_keeps_a_thousand_points_and_its_total():
    said = np.linspace(0, 1, 5_000)
    whole = curve(said, np.full(5_000, 2.0))

    assert whole.probability.size == 1_000
    assert whole.n_above[-1] == 5_000
    assert whole.lost_minor[-1] == pytest.approx(5_000)  # twice a mean of a half


def test_unknown_values_make_no_curve():
    assert loss_curve(SAID, np.full(6, np.nan), horizon_days=90, n_eligible=6) is None
    assert loss_curve(SAID[:0], VALUE[:0], horizon_days=90, n_eligible=6) is None


def test_curve_survives_its_file():
    again = LossCurve.from_file(curve().to_file())

    assert again.to_file() == curve().to_file()
    assert bands_from_costs(again, costs()) == bands_from_costs(curve(), costs())


@pytest.mark.parametrize(
    ("old", "new"), [(b'"format": 1', b'"format": 2'), (b"0.9", b"0.01"), (b"0.9", b"1.9"), (b"90", b"0")]
)
def test_altered_curve_is_refused(old, new):
    with pytest.raises(ArtefactError):
        LossCurve.from_file(curve().to_file().replace(old, new))


def test_without_costs_or_values_bands_are_shares_and_say_why():
    reference = np.arange(10) / 10
    shares = BandSettings(high_share=0.1, medium_share=0.2)

    by_shares = bands_for(curve(), None, reference, shares)
    assert (by_shares.medium, by_shares.high, by_shares.choice.by) == (0.7, 0.9, "shares")
    assert "no costs are set" in by_shares.choice.sentence
    assert "no value" in bands_for(None, costs(), reference, shares).choice.sentence
    assert bands_for(curve(), costs(), reference, shares).choice.by == "costs"


@pytest.mark.parametrize(
    "changes",
    [
        {"margin_share": 0.0},
        {"save_rate": 1.5},
        {"offer_minor": 0},
        {"total_capacity": 0},
        {"weekly_capacity": -1},
        {"medium_cost_share": 0.0},
    ],
)
def test_costs_without_sense_are_refused(changes):
    with pytest.raises(ConfigurationError, match=r"churn\.costs"):
        costs(**changes)


def test_bands_carry_their_choice_through_the_manifest():
    chosen = bands_from_costs(curve(), costs())

    assert Bands.from_manifest(chosen.to_manifest()) == chosen
    assert Bands.from_manifest({"medium": 0.3, "high": 0.6}) == Bands(0.3, 0.6)
    assert chosen.cutoffs() == {"medium": 0.3, "high": 0.6}


@pytest.mark.parametrize(
    "choice",
    [None, {}, {"by": "whim", "sentence": "so", "figures": {}}, {"by": "costs", "sentence": "", "figures": {}}],
)
def test_altered_choice_is_refused(choice):
    with pytest.raises(ArtefactError):
        Bands.from_manifest({"medium": 0.3, "high": 0.6, "choice": choice})
    assert BandChoice("costs", "so", {"n": 1.0}).to_manifest()["figures"] == {"n": 1.0}


def test_a_row_fitted_on_gets_the_probability_of_its_rank_among_customers_held_out():
    model = churn_model(0.0)  # its reference rises evenly from .05 to .95
    values = np.random.default_rng(3).normal(size=(4, len(CHURN_FEATURES)))
    values[:, CHURN_FEATURES.names.index("orders_recency_days")] = [100.0, 1.0, 100.0, 1.0]
    values[2] = values[0]
    values[3] = values[1]
    # two at ranks 3 and 4, mean place (3.5 - .5) / 4; two at ranks 1 and 2, (1.5 - .5) / 4
    honest = [0.05 + 0.9 * 0.75, 0.05 + 0.9 * 0.25]
    np.testing.assert_allclose(calibration_probabilities(model, values, fitted=True), 2 * honest)
    np.testing.assert_array_equal(calibration_probabilities(model, values, fitted=False), model.probabilities(values))
