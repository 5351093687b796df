"""Who was in the training data, told from how well the model fits them: the loss attack.

Source: Yeom et al. (2018), Privacy risk in machine learning: analyzing the connection to overfitting, CSF, section 3.
"""

import lightgbm as lgb
import numpy as np
import pytest

from tests.churn_worlds import known_law
from training.churn import fit_margins
from training.churn_metrics import auc
from training.churn_settings import ChurnSettings

ROWS = 2_000


def attack(seen, unseen, margins):
    """AUC of telling the customers of the training from others by their loss; 0.5 is a guess."""
    losses = [np.logaddexp(0, np.where(rows.labels, -1, 1) * margins(rows.values)) for rows in (seen, unseen)]
    return auc(np.repeat([True, False], ROWS), -np.concatenate(losses))


@pytest.mark.slow
def test_who_was_in_the_training_data_can_hardly_be_told_where_plain_trees_give_it_away():
    rng = np.random.default_rng(0)
    seen, unseen = known_law(rng, ROWS), known_law(rng, ROWS)
    plain = lgb.train(
        {"objective": "binary", "verbosity": -1, "num_threads": 1}, lgb.Dataset(seen.values, seen.labels.astype(float))
    )
    assert attack(seen, unseen, lambda values: plain.predict(values, raw_score=True)) > 0.65
    assert attack(seen, unseen, fit_margins(seen, ChurnSettings())) < 0.55
