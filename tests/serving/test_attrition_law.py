"""What the law of silence takes for granted of the features that it reads."""

import pytest

from features.churn_features import CHURN_FEATURES
from features.fading import Fading
from serving.attrition_law import LOADS, MEMORY_DAYS
from serving.latent_attrition import COUNTED

EXPRESSIONS = {feature.name: feature.expression for feature in CHURN_FEATURES}


@pytest.mark.parametrize("name", LOADS)
def test_a_load_fades_with_the_memory_that_the_law_supposes(name):
    expression = EXPRESSIONS[name]
    assert isinstance(expression, Fading)
    assert expression.memory_days == MEMORY_DAYS


def test_every_load_among_the_features_is_read():
    assert {name for name, one in EXPRESSIONS.items() if isinstance(one, Fading)} == set(LOADS)


def test_what_else_is_read_is_among_the_features():
    assert set(COUNTED) <= set(EXPRESSIONS)
