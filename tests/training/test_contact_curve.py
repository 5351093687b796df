import numpy as np
import pytest
from matplotlib.backends.backend_agg import FigureCanvasAgg

from features.errors import DataError, NotEnoughDataError
from training.churn_campaign_plots import contacts_figure
from training.contact_curve import SHARES, contact_curve

LEFT = np.array([True, False, True, False, False])
SAID = np.array([0.9, 0.8, 0.5, 0.3, 0.1])


def test_leavers_reached_and_loyal_bothered_are_counted_from_the_top():
    rows = contact_curve(LEFT, SAID, np.full(5, 10.0), np.full(5, 1.0), shares=(0.2, 0.4, 0.6, 1.0)).rows
    assert [row.n_contacted for row in rows] == [1, 2, 3, 5]
    assert [(row.leavers_reached, row.loyal_bothered) for row in rows] == [(1, 0), (1, 1), (2, 1), (2, 3)]
    assert [row.leavers_share for row in rows] == [0.5, 0.5, 1.0, 1.0]
    assert [row.lowest_probability for row in rows] == [0.9, 0.8, 0.5, 0.1]
    # 10 a leaver, -1 a loyal one
    assert [row.profit for row in rows] == [10.0, 9.0, 19.0, 17.0]


def test_what_is_expected_needs_no_outcome():
    (row,) = contact_curve(LEFT, SAID, np.full(5, 10.0), np.full(5, 1.0), shares=(0.4,)).rows
    assert (row.leavers_expected, row.loyal_expected) == pytest.approx((1.7, 0.3))
    assert row.profit_expected == pytest.approx(1.7 * 10 - 0.3)
    again = contact_curve(~LEFT, SAID, np.full(5, 10.0), np.full(5, 1.0), shares=(0.4,)).rows[0]
    assert again.profit_expected == row.profit_expected


def test_gains_differ_by_customer_and_the_priority_may_be_another_than_the_probability():
    gain = np.array([1.0, 1.0, 100.0, 1.0, 1.0])
    by_loss = contact_curve(LEFT, SAID, gain, np.ones(5), priority=SAID * gain, shares=(0.2, 0.4)).rows
    assert [row.profit for row in by_loss] == [100.0, 101.0]
    assert by_loss[1].lowest_probability == 0.5


def test_the_best_cutoff_is_the_smallest_of_those_that_bring_most():
    curve = contact_curve(LEFT, SAID, np.full(5, 10.0), np.zeros(5), shares=(0.2, 0.6, 1.0))
    assert [row.profit for row in curve.rows] == [10.0, 20.0, 20.0]
    assert curve.best.share == 0.6
    assert curve.best_expected.share == 1.0


def test_contacting_all_brings_the_same_whatever_the_model_says():
    rng = np.random.default_rng(0)
    left, gain = rng.random(1_000) < 0.3, rng.gamma(2.0, 50.0, 1_000)
    ends = [contact_curve(left, rng.random(1_000), gain, np.full(1_000, 5.0)).rows[-1] for _ in range(2)]
    assert ends[0].profit == pytest.approx(ends[1].profit)
    assert ends[0].share == 1.0


def test_calibrated_probabilities_expect_the_profit_that_comes():
    rng = np.random.default_rng(1)
    said = rng.beta(1, 2, 20_000)
    curve = contact_curve(rng.random(said.size) < said, said, np.full(said.size, 10.0), np.full(said.size, 4.0))
    assert len(curve.rows) == len(SHARES)
    for row in curve.rows:
        # a contacted customer brings 10 or -4: a deviation of at most 7
        assert abs(row.profit - row.profit_expected) < 4 * 7 * np.sqrt(row.n_contacted)


def test_an_empty_shop_and_an_impossible_share_are_refused():
    nobody = np.empty(0)
    with pytest.raises(NotEnoughDataError, match="0"):
        contact_curve(nobody.astype(bool), nobody, nobody, nobody)
    with pytest.raises(DataError, match="above 0"):
        contact_curve(LEFT, SAID, SAID, SAID, shares=(0.0, 0.5))


@pytest.mark.parametrize("known", [True, False])
def test_no_legend_of_the_picture_lies_on_a_curve(known):
    rng = np.random.default_rng(3)
    said = rng.uniform(0, 1, 200)
    gain, loss = (np.full(200, 40.0 if known else np.nan), np.full(200, 9.0 if known else np.nan))
    curve = contact_curve(rng.random(200) < said, said, gain, loss)
    figure = contacts_figure(curve, curve if known else None)
    FigureCanvasAgg(figure).draw()
    for axes in figure.axes:
        legend = axes.get_legend()
        assert legend.get_texts()
        assert not legend.get_window_extent().overlaps(axes.get_window_extent())
        assert not legend.get_window_extent().overlaps(axes.xaxis.label.get_window_extent())
    left, right = (axes.get_legend().get_window_extent() for axes in figure.axes)
    assert left.x0 >= 0
    assert left.x1 < right.x0
    assert right.x1 <= figure.bbox.x1
