"""What is still on the customer's mind, by hand arithmetic."""

import numpy as np
import pytest

from features.errors import ArtefactError, ConfigurationError
from features.instants import DAY_US
from features.schema import KINDS
from serving.sources.histories import Histories, Purchases, Steps
from serving.sources.recent import RecentSource
from training.sources.recent import RecentSettings

VIEW, CART, PURCHASE = (list(KINDS).index(kind) for kind in ("view", "cart", "purchase"))
SOURCE = RecentSource(5, half_life_days=2.0, bought_share=0.25)


def histories(*steps: tuple[int, int, int]) -> Histories:
    """One customer with steps (item, age in days, kind), oldest first."""
    items, ages, kinds = (np.array(column, np.int64) for column in zip(*steps, strict=True))
    nothing = np.empty(0, np.int64)
    offsets, none = np.array([0, len(items)]), np.zeros(2, np.int64)
    bought = Purchases(nothing, nothing, nothing, nothing, nothing)
    own = Steps(offsets, items, -ages * DAY_US, kinds.astype(np.int8))
    return Histories(0, none, nothing, np.empty(0), bought, none, own)


def test_the_latest_comes_first_and_what_is_bought_is_off_the_mind():
    found = SOURCE.propose(histories((0, 6, VIEW), (3, 4, VIEW), (4, 2, CART), (3, 2, PURCHASE)), 5)
    # 4: age 2, nothing later; 3: the same instant, bought; 0: age 6, two later
    assert found.places.tolist() == [[4, 3, 0, -1, -1]]
    assert found.scores[0, :3].tolist() == pytest.approx([0.5, 0.25 * 0.5, 0.125 / 3])


def test_a_new_look_puts_an_item_back_to_the_front():
    once = histories((0, 4, VIEW), (1, 2, VIEW))
    again = histories((0, 4, VIEW), (1, 2, VIEW), (0, 0, VIEW))
    assert [SOURCE.propose(one, 1).places[0, 0] for one in (once, again)] == [1, 0]


def test_it_has_nothing_to_say_of_what_was_never_met():
    scores = SOURCE.scores(histories((2, 0, VIEW)), np.array([[0, 2, -1]]))
    assert np.isnan(scores[0, [0, 2]]).all()
    assert scores[0, 1] == 1.0


def test_wrong_settings_are_refused():
    with pytest.raises(ConfigurationError, match=r"bought_share is 1.5; write at most 1"):
        RecentSettings(bought_share=1.5)
    with pytest.raises(ArtefactError, match="n_items must be a whole number"):
        RecentSource.from_parts({"half_life_days": 1.0, "bought_share": 0.5}, {})
