"""Lifetime models against what Fader, Hardie and Lee published of CDNOW's 1/10 sample, 39 weeks to fit and 39 after."""

from datetime import date
from pathlib import Path

import numpy as np
import pytest

from training.churn_metrics import auc
from training.lifetime.bg_nbd import fit_bg_nbd
from training.lifetime.count_metrics import randomised_coverage
from training.lifetime.gamma_gamma import fit_gamma_gamma
from training.lifetime.order_forecast import fit_order_forecaster
from training.lifetime.order_histories import OrderHistories

SAMPLE = Path(__file__).parents[2].parent / "shared" / "data" / "cdnow" / "CDNOW_sample.txt"
pytestmark = [
    pytest.mark.realdata,
    pytest.mark.skipif(not SAMPLE.is_file(), reason="there is no ../shared/data on this machine"),
]
LAST_DAY, WEEKS = 7 * 39 - 1, 39.0


@pytest.fixture(scope="module")
def rows():
    """Customer, days since 1997-01-01 and dollars of each line."""
    lines = [line.split() for line in SAMPLE.read_text(encoding="ascii").splitlines()]
    start = date(1997, 1, 1)
    return np.array([(int(m), (date.fromisoformat(day) - start).days, float(usd)) for m, _, day, _, usd in lines])


@pytest.fixture(scope="module")
def histories(rows):
    return OrderHistories.from_order_days(rows[:, 0].astype(np.int64), rows[:, 1].astype(np.int64), LAST_DAY)


@pytest.fixture(scope="module")
def happened(rows, histories):
    later = {(int(customer), int(day)) for customer, day, _ in rows if LAST_DAY < day <= LAST_DAY + 7 * WEEKS}
    counts = dict.fromkeys(histories.customers.tolist(), 0)
    for customer, _ in later:
        counts[customer] += 1
    return np.array(list(counts.values()))


def test_bg_nbd_has_the_published_estimates_and_errors(histories, happened):
    x, t_x, t = histories.frequency, histories.recency, histories.age
    model = fit_bg_nbd(x, t_x, t)
    assert (round(model.r, 3), round(model.alpha, 3), round(model.a, 3), round(model.b, 3)) == (
        *(0.243, 4.414),
        *(0.793, 2.426),
    )
    assert model.log_likelihood(x, t_x, t).sum() == pytest.approx(-9_582.4, abs=0.05)
    expected = model.expected_orders(x, t_x, t, WEEKS)
    assert np.abs(expected - happened).mean() == pytest.approx(0.786, abs=0.001)
    assert np.corrcoef(expected, happened)[0, 1] == pytest.approx(0.626, abs=0.0005)


def test_gamma_gamma_has_the_published_estimates(rows):
    # note 025: the mean value of the repeat orders of the 946 who came back; log-likelihood as CLVTools checks it
    value = {}
    for customer, day, usd in rows:
        if day <= LAST_DAY:
            value.setdefault(int(customer), {}).setdefault(int(day), []).append(usd)
    repeats = [[sum(usd) for _, usd in sorted(days.items())][1:] for days in value.values()]
    n = np.array([len(one) for one in repeats if one])
    mean = np.array([np.mean(one) for one in repeats if one])
    model = fit_gamma_gamma(n, mean)
    assert n.size == 946
    assert (round(model.p, 2), round(model.q, 2), round(model.gamma, 2)) == (6.25, 3.74, 15.44)
    assert model.log_likelihood(n[mean > 0], mean[mean > 0]).sum() == pytest.approx(-4_055.9177, abs=0.01)


def test_our_forecast_ranks_better_than_bg_nbd_and_its_intervals_hold(histories, happened):
    fitted = fit_order_forecaster(histories)
    ours = fitted.forecast(histories, WEEKS)
    silent = fitted.leaving.probability_silent(histories.frequency, histories.recency, histories.age, WEEKS)
    again = happened > 0
    assert auc(again, ours.p_buys_again) > max(0.7725, auc(again, 1 - silent))
    assert np.abs(ours.p50 - happened).mean() < 0.786
    assert 0.76 < randomised_coverage(ours.probabilities, happened).mean() < 0.84
