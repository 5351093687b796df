import numpy as np
import pytest

from features.errors import ArtefactError
from serving.booster_text import check_booster_text
from serving.trees import Trees, column_names
from tests.boosted import NAMES, boosted


@pytest.fixture(scope="module")
def numeric():
    booster, values = boosted()
    return Trees(NAMES, booster.model_to_string()), booster, values


@pytest.fixture(scope="module")
def categorical():
    booster, values = boosted(categorical=True)
    return Trees(NAMES, booster.model_to_string()), booster, values


@pytest.mark.parametrize("kind", ["numeric", "categorical"])
def test_margins_are_lightgbms_own_bit_for_bit(kind, request):
    trees, booster, values = request.getfixturevalue(kind)
    np.testing.assert_array_equal(trees.margins(values), booster.predict(values, raw_score=True))


@pytest.mark.parametrize("kind", ["numeric", "categorical"])
def test_contributions_sum_to_the_margin(kind, request):
    trees, _, values = request.getfixturevalue(kind)
    np.testing.assert_allclose(trees.contributions(values).sum(axis=1), trees.margins(values), atol=1e-9)


def test_a_category_never_seen_is_taken_as_missing(categorical):
    trees, _, values = categorical
    unseen, missing = values[:50].copy(), values[:50].copy()
    unseen[:, 1], missing[:, 1] = 10_000.0, np.nan
    np.testing.assert_array_equal(trees.margins(unseen), trees.margins(missing))


def test_numbers_are_told_by_regression_trees():
    booster, values = boosted("regression")
    trees = Trees(NAMES, booster.model_to_string(), "regression")
    np.testing.assert_array_equal(trees.margins(values), booster.predict(values))
    with pytest.raises(ArtefactError, match="v4 binary"):
        Trees(NAMES, booster.model_to_string())


def test_any_name_of_a_column_can_be_stored():
    assert column_names(("a", "Größe, [x]: {y}")) == ("a", "Gr%C3%B6%C3%9Fe%2C%20%5Bx%5D%3A%20%7By%7D")


def test_every_truncation_is_refused_before_lightgbm_aborts(numeric, categorical):
    for trees in (numeric[0], categorical[0]):
        for length in range(0, len(trees.text), 97):
            with pytest.raises(ArtefactError):
                check_booster_text(trees.text[:length], NAMES)


def test_what_stands_behind_the_trees_is_neither_kept_nor_read(numeric):
    trees, booster, _ = numeric
    assert trees.text.endswith("\n\nend of trees\n")
    assert booster.model_to_string().startswith(trees.text)
    assert Trees.from_bytes(trees.to_bytes(), NAMES, "booster.txt").text == trees.text
    with pytest.raises(ArtefactError, match="more than trees"):
        Trees.from_bytes(trees.to_bytes() + b"\nparameters:\n[seed", NAMES, "booster.txt")


def swapped(text, old, new):
    assert old in text
    return text.replace(old, new, 1)


def first_tree(text):
    """Header, the first tree, what follows, and the first tree's number of nodes."""
    head, _, body = text.partition("\n\n")
    size = int(head.rpartition("tree_sizes=")[2].split()[0])
    nodes = int(next(line for line in body[:size].split("\n") if line.startswith("num_leaves="))[11:]) - 1
    return head, body[:size], body[size:], nodes


def refuse_with(text, field, value, said):
    """The first tree with one field damaged, its length in the header made to fit."""
    head, first, rest, _ = first_tree(text)
    line = next(line for line in first.split("\n") if line.startswith(f"{field}="))
    damaged = swapped(first, line, f"{field}={value}")
    new_head = swapped(head, f"tree_sizes={len(first)} ", f"tree_sizes={len(damaged)} ")
    with pytest.raises(ArtefactError, match=f"tree 0.*{said}"):
        check_booster_text(f"{new_head}\n\n{damaged}{rest}", NAMES)


@pytest.mark.parametrize(
    ("field", "value", "said"),
    [
        ("left_child", lambda n: "0 " * n, "not a tree"),
        ("split_feature", lambda n: "9 " * n, "feature that does not exist"),
        ("threshold", lambda n: "nan " * n, "finite numbers threshold"),
        ("leaf_value", lambda n: "inf " * (n + 1), "finite numbers leaf_value"),
        ("leaf_value", lambda n: "1 " * n, "finite numbers leaf_value"),
        ("num_cat", lambda n: "1", "lacks the sets of categories"),
        ("num_leaves", lambda n: "99999999", "leaves"),
        ("decision_type", lambda n: "1 " * n, "by categories that it does not hold"),
        ("decision_type", lambda n: "17 " * n, "decides in a way"),
        ("leaf_count", lambda n: "1_0 " * (n + 1), "finite numbers leaf_count"),
        ("shrinkage", lambda n: "", "finite numbers shrinkage"),
        ("is_linear", lambda n: "1", "linear leaves"),
    ],
)
def test_a_damaged_tree_is_refused_by_its_number(numeric, field, value, said):
    text = numeric[0].text
    nodes = first_tree(text)[3]
    refuse_with(text, field, value(nodes).strip(), said)


@pytest.mark.parametrize(
    ("field", "change", "said"),
    [
        ("num_cat", lambda old: "0", "by categories that it does not hold"),
        ("num_cat", lambda old: "-1", "sets of categories"),
        ("num_cat", lambda old: str(int(old) + 1), "finite numbers cat_boundaries"),
        ("cat_boundaries", lambda old: " ".join(["1", *old.split()[1:]]), "do not follow"),
        ("cat_boundaries", lambda old: " ".join([*old.split()[:-1], "999999999"]), "do not follow"),
        ("cat_boundaries", lambda old: " ".join(reversed(old.split())), "do not follow"),
        ("cat_threshold", lambda old: " ".join(old.split()[1:]), "finite numbers cat_threshold"),
        ("cat_threshold", lambda old: " ".join(["4294967296", *old.split()[1:]]), "32 bits"),
        ("cat_threshold", lambda old: " ".join(["-1", *old.split()[1:]]), "32 bits"),
        ("decision_type", lambda old: " ".join("2" for _ in old.split()), "by categories that it does not hold"),
        ("decision_type", lambda old: " ".join("1" for _ in old.split()), "by categories that it does not hold"),
    ],
)
def test_damaged_sets_of_categories_are_refused(categorical, field, change, said):
    text = categorical[0].text
    line = next(line for line in first_tree(text)[1].split("\n") if line.startswith(f"{field}="))
    refuse_with(text, field, change(line.partition("=")[2]), said)


def test_another_objective_is_refused(numeric):
    with pytest.raises(ArtefactError, match="binary"):
        check_booster_text(swapped(numeric[0].text, "objective=binary sigmoid:1", "objective=regression"), NAMES)


def test_a_sound_text_tells_its_trees(numeric):
    trees = numeric[0]
    assert check_booster_text(trees.text, NAMES) == trees.n_trees == 20
