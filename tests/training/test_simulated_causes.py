from __future__ import annotations

import dataclasses

import numpy as np
import pytest

from training.simulate import CAUSES, OFFER_KINDS, HazardSettings, OfferSettings, SimulationSettings, Truth, simulate
from training.simulated_shop.offers import offer_effects

DAYS_AFTER = 28


@pytest.fixture(scope="module")
def truth() -> Truth:
    """A shop that sends many offers, so that their effects show in few customers."""
    return simulate(SimulationSettings(scale=0.25, offer=OfferSettings(share=0.6)), 11).truth


def leaves_within(truth: Truth, rows: np.ndarray, days: np.ndarray) -> np.ndarray:
    left = truth.left_day[rows]
    return (left > days) & (left <= days + DAYS_AFTER)


def still_there(truth: Truth, rows: np.ndarray, days: np.ndarray) -> np.ndarray:
    left = truth.left_day[rows]
    return ((left < 0) | (left > days)) & (days + DAYS_AFTER < truth.settings.days)


def test_after_an_incident_more_customers_leave_by_about_the_known_effect(truth: Truth) -> None:
    incidents = truth.incidents
    late = (incidents.code == CAUSES.index("late_delivery")) & (np.abs(incidents.amounts[:, 0] - 1.0) < 0.3)
    late &= still_there(truth, incidents.row, incidents.day)
    orders = truth.orders
    all_orders = still_there(truth, orders.row, orders.day)
    after_late = leaves_within(truth, incidents.row[late], incidents.day[late]).mean()
    after_order = leaves_within(truth, orders.row[all_orders], orders.day[all_orders]).mean()
    # severity 1 adds mass .34 over all days, 1 - exp(-28/25) = .67 of it within 28 days: .23, times tenure 1 to 2
    # and frailty 1: between 1 - exp(-.23) = .20 and 1 - exp(-.46) = .37 of those who would have stayed
    assert late.sum() > 500
    assert 0.14 < after_late - after_order < 0.37


def test_without_incident_effects_hardly_anybody_leaves() -> None:
    harmless = HazardSettings(mass=(0.0,) * len(CAUSES), frailty_sigma=0.0, new_customer_extra=0.0)
    quiet = simulate(SimulationSettings(scale=0.05, hazard=harmless, offer=OfferSettings(share=0.0)), 5).truth
    # the everyday base alone: .0007 a day over the days as a customer
    joined = np.maximum(quiet.people.join_day, 0)
    ended = np.where(quiet.left_day >= 0, quiet.left_day, quiet.settings.days)
    expected = 0.0007 * np.maximum(ended - joined, 0).sum()
    left = (quiet.left_day >= 0).sum()
    assert abs(left - expected) < 4 * np.sqrt(expected)
    assert (quiet.cause == -1).all()


def test_every_cause_but_the_rarest_drives_customers_away(truth: Truth) -> None:
    left = truth.left_day >= 0
    share = np.bincount(truth.cause[left] + 1, minlength=1 + len(CAUSES)) / left.sum()
    for name in ("late_delivery", "complaint_unanswered", "out_of_stock", "weak_match", "support_wait"):
        assert share[1 + CAUSES.index(name)] > 0.02, name
    assert share[0] < 0.35  # driven by what happens, not by hidden frailty


def risks(truth: Truth, kind: str, chosen: np.ndarray) -> tuple[float, float, float]:
    """Share leaving with the offer, share without, and the z of the difference; `chosen` selects customers."""
    offers = truth.offers
    there = still_there(truth, offers.row, offers.day) & chosen[offers.row]
    left = leaves_within(truth, offers.row, offers.day)
    treated = left[there & (offers.code == 1 + OFFER_KINDS.index(kind))]
    control = left[there & (offers.code == 0)]
    assert min(len(treated), len(control)) > 300
    spread = np.sqrt(treated.var() / len(treated) + control.var() / len(control))
    return float(treated.mean()), float(control.mean()), float((treated.mean() - control.mean()) / spread)


def test_the_true_effect_of_an_offer_shows_in_the_randomised_comparison(truth: Truth) -> None:
    everybody = np.ones(len(truth.customer_ids), dtype=bool)
    treated, control, z = risks(truth, "free_shipping", everybody)
    # log hazard -.45 at once, fading over 30 days: over 28 days -.45 * (30/28)(1 - exp(-28/30)) = -.29, a factor of .75
    assert z < -3
    assert treated / control == pytest.approx(0.75, abs=0.15)


def test_offers_help_those_they_suit(truth: Truth) -> None:
    hazard, _ = offer_effects(truth.people, np.zeros((len(truth.people.join_day), len(CAUSES))))
    for kind in ("discount", "recommendation_email"):
        _, _, z = risks(truth, kind, hazard[:, OFFER_KINDS.index(kind)] < -0.3)
        assert z < -2, kind


def test_some_customers_are_better_left_alone(truth: Truth) -> None:
    hazard, _ = offer_effects(truth.people, np.zeros((len(truth.people.join_day), len(CAUSES))))
    harmed = [
        risks(truth, kind, hazard[:, OFFER_KINDS.index(kind)] > 0.25) for kind in ("discount", "recommendation_email")
    ]
    assert all(treated > control for treated, control, _ in harmed)
    assert sum(z for _, _, z in harmed) / np.sqrt(len(harmed)) > 2  # Stouffer's sum of two independent arms
    # without an incident an apology call only reminds: .35 + .25 v is positive for v > -1.4, 92% of customers
    assert (hazard[:, OFFER_KINDS.index("apology_call")] > 0).mean() == pytest.approx(0.92, abs=0.03)


def test_the_holdout_never_gets_an_offer_and_arms_have_their_shares(truth: Truth) -> None:
    offers = truth.offers
    assert not truth.people.in_holdout[offers.row].any()
    assert truth.people.in_holdout.mean() == pytest.approx(0.10, abs=0.02)
    share = np.bincount(offers.code, minlength=5) / len(offers.code)
    assert share[0] == pytest.approx(0.4, abs=0.01)
    assert share[1:] == pytest.approx(np.full(4, 0.15), abs=0.01)


def test_settings_are_data(truth: Truth) -> None:
    assert dataclasses.asdict(truth.settings)["offer"]["share"] == 0.6
