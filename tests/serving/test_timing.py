import math

import numpy as np
import pytest

from features.errors import ArtefactError
from serving.conditional_quantity import ConditionalQuantity, Location
from serving.linear_part import LinearPart
from serving.season import SeasonShift
from serving.timing import Link, Timing, log_odds_of_share
from serving.trees import Trees
from tests.boosted import NAMES, boosted

HALF_YEAR_US = round(182.625 * 86_400 * 1e6)
LEVELS = (0.1, 0.5, 0.9)


@pytest.fixture(scope="module")
def trees():
    return Trees(NAMES, boosted("regression")[0].model_to_string(), "regression")


@pytest.fixture(scope="module")
def plain(trees):
    """T / H has log-odds location + residual, residuals spread evenly from -2 to 2; nothing to calibrate."""
    quantity = ConditionalQuantity(
        Location(LinearPart(3, 0.2, ()), trees, 0.5), np.array([]), np.linspace(-2, 2, 101)[None, :]
    )
    return Timing((30, 60, 90), quantity, (Link(1.0, 0.0), Link(1.0, 0.0)))


@pytest.fixture(scope="module")
def bent(plain):
    """The same with links that are far from nothing, one of them moving with the season."""
    links = (Link(0.4, 1.2, SeasonShift((0.5, 0.0, 0.0, 0.0), 0)), Link(2.5, -0.7))
    return Timing(plain.horizons_days, plain.quantity, links)


LOCATIONS = np.array([-6.0, -1.0, 0.0, 0.3, 1.0, 6.0])


def test_the_log_odds_of_a_share_stay_an_hour_from_either_end():
    found = log_odds_of_share(np.array([0.0, 30.0, 90.0]), 90.0)
    # an hour is 1/24 of a day: ln((1/24) / (90 - 1/24)) = -ln 2159
    assert found.tolist() == pytest.approx([-math.log(2159), -math.log(2), math.log(2159)])


def test_shares_follow_from_the_distribution(plain):
    raw = plain.raw_shares(np.array([0.0]))
    # log-odds of 30/90 and 60/90 are -ln 2 and ln 2; of residuals from -2 to 2 the shares (2 -+ ln 2) / 4 lie below
    assert raw[0].tolist() == pytest.approx([(2 - math.log(2)) / 4, (2 + math.log(2)) / 4, 1.0])
    np.testing.assert_allclose(plain.shares(raw), raw, atol=1e-12)


def test_a_link_calibrates_the_share_of_the_next_longer_horizon(plain):
    raw = plain.raw_shares(np.array([0.0]))
    turned = Timing(plain.horizons_days, plain.quantity, (Link(1.0, math.log(3)), Link(1.0, 0.0)))
    found = turned.shares(raw)[0]
    odds = raw[0, 1] / (1 - raw[0, 1]) * 3
    assert found[1] == pytest.approx(odds / (1 + odds))
    assert found[0] == pytest.approx(found[1] * raw[0, 0] / raw[0, 1])


def test_the_season_moves_a_link(bent):
    raw = bent.raw_shares(np.array([0.0]))
    plain, later = bent.shares(raw, 0)[0], bent.shares(raw, HALF_YEAR_US)[0]
    # cosine goes from 1 to -1 in half a year: -1 in log-odds of the longest link
    assert np.log(later[1] / (1 - later[1])) - np.log(plain[1] / (1 - plain[1])) == pytest.approx(-1.0)
    np.testing.assert_array_equal(bent.shares(raw), bent.shares(raw, 0))


def test_shares_never_fall_as_the_horizon_rises(bent):
    for as_of_us in (None, 0, HALF_YEAR_US):
        shares = bent.shares(bent.raw_shares(LOCATIONS), as_of_us)
        assert (np.diff(shares, axis=1) >= 0).all()
        assert (shares >= 0).all()
        assert (shares[:, -1] == 1.0).all()


def test_days_ascend_and_lie_within_the_longest_horizon(bent):
    raw = bent.raw_shares(LOCATIONS)
    found = bent.days(LOCATIONS, raw, bent.shares(raw), LEVELS)
    assert (np.diff(found, axis=1) >= 0).all()
    assert (found >= 0).all()
    assert (found <= 90).all()


def test_days_and_shares_tell_one_distribution(bent):
    locations = np.array([-0.5, 0.0, 0.4])
    raw = bent.raw_shares(locations)
    shares = bent.shares(raw)
    for row in range(3):
        for place, horizon in ((0, 30.0), (1, 60.0)):
            at = bent.days(locations[row : row + 1], raw[row : row + 1], shares[row : row + 1], (shares[row, place],))
            assert at[0, 0] == pytest.approx(horizon, abs=0.05)


def test_one_horizon_needs_no_link(plain):
    alone = Timing((90,), plain.quantity, ())
    raw = alone.raw_shares(LOCATIONS)
    assert raw.tolist() == [[1.0]] * 6
    expected = 90 / (1 + np.exp(-plain.quantity.quantiles(LOCATIONS, np.array(LEVELS))))
    np.testing.assert_allclose(alone.days(LOCATIONS, raw, alone.shares(raw), LEVELS), expected)


def test_the_manifest_gives_it_back(bent, trees):
    again = Timing.from_manifest(bent.to_manifest(), bent.horizons_days, trees)
    assert again.links == bent.links


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"links": None}, "a quantity and links"),
        ({"links": []}, "each shorter horizon"),
        ({"links": [3, 4]}, "not a JSON object"),
        ({"links": [{"slope": 0.0, "intercept": 0.0, "season": None}] * 2}, "above 0"),
        ({"links": [{"slope": 1.0, "season": None}] * 2}, "intercept"),
        ({"links": [{"slope": 1.0, "intercept": 0.0, "season": {"anchor_us": 0}}] * 2}, "kind"),
        ({"quantity": None}, "edges and residuals"),
    ],
)
def test_a_malformed_manifest_is_refused(bent, trees, changes, said):
    with pytest.raises(ArtefactError, match=said):
        Timing.from_manifest(bent.to_manifest() | changes, bent.horizons_days, trees)
