"""Recipes of placements: shipped ones, those of a project in their place, and weights that move with the risk."""

import pytest

from features.errors import ConfigurationError
from serving.recipe import Asking, Objective, ObjectiveWeights, load_recipe, load_recipes, shipped_recipes
from serving.slate_rules import Exclusions


def test_every_placement_has_a_shipped_recipe_that_can_be_read():
    assert shipped_recipes() == ("basket", "email", "home", "product_page")
    recipes = load_recipes()
    assert [recipe.name for recipe in recipes.values()] == list(recipes)
    for recipe in recipes.values():
        staying, leaving = recipe.objective.staying, recipe.objective.leaving
        assert leaving.retention > staying.retention, "with high risk, what brings back counts for more"
        assert leaving.margin + leaving.discovery < staying.margin + staying.discovery
    assert recipes["email"].rules.exclude == Exclusions(owned=False, seen=True, bought_within_days=60.0)
    assert recipes["basket"].asking("buy_again") == Asking(2.0, None)
    assert recipes["basket"].asking("als") == Asking()


def test_a_file_of_the_project_takes_the_place_of_the_shipped_one(tmp_path):
    (tmp_path / "home.toml").write_text("k = 3\n[sources.als]\nlimit = 50\n[rules]\nwhere = 'price_minor > 0'\n")
    (tmp_path / "checkout.toml").write_text("k = 4\n")
    recipes = load_recipes(tmp_path)
    assert list(recipes) == ["basket", "checkout", "email", "home", "product_page"]
    assert (recipes["home"].k, recipes["home"].rules.where, recipes["home"].asking("als").limit) == (
        3,
        "price_minor > 0",
        50,
    )
    assert recipes["checkout"].objective == Objective()
    assert load_recipe("email", tmp_path) == load_recipe("email")
    assert load_recipe("home", tmp_path / "absent") == load_recipe("home")


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("kk = 3", r"home.toml: unknown setting recipe\.kk"),
        ("k = 0", "k is 0"),
        ("k = ", "home.toml is not TOML"),
        ("[sources.als]\nweight = -1", "sources.weight is -1"),
        ("[sources.als]\nlimit = 0", "sources.limit is 0"),
        ("[rules]\nwhere = 'price_minor >'", "where: the filter cannot be read at character 14"),
        ("[rules.diversity]\ndail = 1", r"unknown setting recipe\.rules\.diversity\.dail"),
        ("[objective]\nfrom_probability = 0.8", "from_probability and to_probability are 0.8 and 0.7"),
        ("[objective.leaving]\nretention = 2", "objective.retention is 2"),
    ],
)
def test_a_wrong_recipe_is_refused_by_file_and_key(tmp_path, text, told):
    (tmp_path / "home.toml").write_text(text)
    with pytest.raises(ConfigurationError, match=told):
        load_recipe("home", tmp_path)


def test_a_recipe_that_is_not_there_names_those_that_are():
    with pytest.raises(ConfigurationError, match="known: basket, email, home, product_page"):
        load_recipe("../home")


@pytest.mark.parametrize(
    ("probability", "margin", "retention"),
    [
        (None, 0.4, 0.0),
        (float("nan"), 0.4, 0.0),
        (0.0, 0.4, 0.0),
        (0.2, 0.4, 0.0),
        (0.3, 0.3, 0.05),
        (0.6, 0.0, 0.2),
        (1.0, 0.0, 0.2),
    ],
)
def test_weights_move_on_a_straight_line_with_the_probability_of_leaving(probability, margin, retention):
    objective = Objective(ObjectiveWeights(margin=0.4), ObjectiveWeights(retention=0.2), 0.2, 0.6)
    assert objective.weights(probability) == ObjectiveWeights(margin, 0.0, retention)
