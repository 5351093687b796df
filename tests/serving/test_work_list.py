"""The work list: chosen, sorted, nobody twice, nobody missing."""

from datetime import date
from pathlib import Path

import pytest

from serving.cursors import read_cursor, write_cursor
from serving.problems import Problem
from serving.score_book import Book, read_book
from serving.work_list import Choice, listed_rows
from tests.score_books import lay_books


@pytest.fixture
def book(tmp_path: Path) -> Book:
    people = {
        "k:a": {"band": "high", "expected_loss_minor": 50, "stage": "at_risk", "churn_probability": 0.8},
        "k:b": {"band": "high", "expected_loss_minor": 90, "stage": "active", "churn_probability": 0.7},
        "k:c": {"band": "low", "expected_loss_minor": 50, "segment": "s1", "next_purchase_p50": date(2024, 4, 2)},
        "k:d": {"band": "high", "expected_loss_minor": None, "stage": "at_risk", "churn_probability": 0.9},
        "k:e": {"band": "high", "expected_loss_minor": 999, "eligible": False, "churn_probability": 0.99},
        "k:f": {"band": "medium", "expected_loss_minor": 70, "next_purchase_p50": date(2024, 4, 1)},
    }
    return read_book(lay_books(tmp_path, [people])[0])


def listed(book: Book, **choice: object) -> str:
    return "".join(book.keys[int(row)].as_py()[2:] for row in listed_rows(book, Choice(**choice)))


def test_the_largest_loss_comes_first_ties_by_pseudonym_and_unknown_last(book: Book) -> None:
    assert listed(book) == "bfacd"
    assert listed(book, sort="expected_loss") == "acfbd"


def test_it_is_sorted_by_probability_or_by_the_next_purchase(book: Book) -> None:
    assert listed(book, sort="-churn_probability")[:3] == "dab"
    assert listed(book, sort="next_purchase") == "fcabd"
    assert listed(book, sort="-next_purchase")[:2] == "cf"


def test_band_stage_and_segment_choose_together(book: Book) -> None:
    assert listed(book, bands=("high",)) == "bad"
    assert listed(book, bands=("high", "medium")) == "bfad"
    assert listed(book, bands=("high",), stages=("at_risk",)) == "ad"
    assert listed(book, segments=("s1",)) == "c"
    assert listed(book, segments=("s9",)) == ""


def test_who_has_left_is_listed_only_when_asked_for(book: Book) -> None:
    assert listed(book, bands=("high",), everybody=True) == "ebad"


def test_one_choice_has_one_digest() -> None:
    assert Choice(bands=("high",)).digest == Choice(bands=("high",)).digest != Choice(bands=("low",)).digest


@pytest.mark.parametrize(
    "text", ["", "x", "é", "a" * 90, write_cursor("other", 1, 2), write_cursor("page", 1), "cGFnZS4xLi0y"]
)
def test_what_is_no_cursor_of_the_list_is_refused(text: str) -> None:
    with pytest.raises(Problem) as refused:
        read_cursor("page", text, 2, "/cursor")
    assert (refused.value.status, refused.value.code) == (422, "cursor")
    assert refused.value.errors[0].pointer == "/cursor"
