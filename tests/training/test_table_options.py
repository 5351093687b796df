"""A table may be named by its own options, or by a churn problem of kind label."""

from pathlib import Path

import pytest

from features.errors import ConfigurationError
from training.cli.table_options import GivenLabels, table_of

MINE = 'name = "mine"\nkind = "label"\nlabel_column = "left"\nid_column = "number"\nhorizons_days = [60]\n'


def named(problem: str | None, **told: object) -> GivenLabels | None:
    given: dict[str, object] = {
        "path": Path("customers.csv"),
        **dict.fromkeys(("label", "id_column", "churned_value", "ignored", "horizon_days", "as_of")),
        "delimiter": ",",
        "encoding": "utf-8",
    }
    return table_of(**{**given, **told}, problem=problem)  # type: ignore[arg-type]


@pytest.fixture
def mine(tmp_path: Path) -> str:
    path = tmp_path / "mine.toml"
    path.write_text(MINE)
    return str(path)


def test_a_problem_names_the_label_the_id_and_the_horizon(mine: str) -> None:
    found = named(mine)
    assert found is not None
    assert (found.form.label, found.form.id_column, found.horizon_days) == ("left", "number", 60)


def test_what_is_named_on_the_command_line_goes_before_the_problem(mine: str) -> None:
    found = named(mine, label="gone", horizon_days=14)
    assert found is not None
    assert (found.form.label, found.form.id_column, found.horizon_days) == ("gone", "number", 14)


def test_a_problem_that_asks_an_event_log_is_refused_for_a_table() -> None:
    with pytest.raises(ConfigurationError, match="silence is of kind silence and asks an event log"):
        named("silence")


def test_a_problem_that_leaves_the_customers_name_open_is_asked_for_it(tmp_path: Path) -> None:
    (tmp_path / "open.toml").write_text(MINE.replace('id_column = "number"\n', ""))
    with pytest.raises(ConfigurationError, match="needs --id"):
        named(str(tmp_path / "open.toml"))


def test_without_a_table_the_problem_is_left_to_the_event_log(mine: str) -> None:
    assert named(mine, path=None) is None
