"""Books of scores: written whole, numbered, kept to so many, read back, compared."""

from datetime import date
from pathlib import Path

import numpy as np
import pytest

from features.errors import ArtefactError, ConfigurationError, UnavailableError
from features.instants import DAY_US
from features.locking import exclusive
from serving.score_book import list_books, newest_book, read_book, write_book
from serving.score_books import ScoreBooks
from serving.score_changes import band_changes
from tests.score_books import NIGHT_US, book_rows, facts, lay_books

HIGH = {"churn_probability": 0.9, "churn_score": 95, "band": "high"}
OUT = {"eligible": False}


def test_a_book_is_read_as_it_was_written_by_ascending_pseudonym(tmp_path: Path) -> None:
    rows = book_rows({"k:b": HIGH | {"next_purchase_p50": date(2024, 5, 1), "expected_loss_minor": 77}, "k:a": {}})
    name = write_book(tmp_path, facts(), rows, keep=3)
    book = read_book(name)
    assert book.facts == facts()
    assert list_books(tmp_path) == (name,)
    assert book.keys.to_pylist() == ["k:a", "k:b"]
    assert (book.row("k:a"), book.row("k:b"), book.row("k:c"), book.row("a")) == (0, 1, None, None)
    assert book.rows["expected_loss_minor"].to_pylist() == [None, 77]
    assert book.rows["next_purchase_p50"].to_pylist() == [None, date(2024, 5, 1)]
    assert book.band_codes.tolist() == [0, 2]


def test_the_percentile_counts_eligible_customers_and_half_of_the_ties(tmp_path: Path) -> None:
    at = {"k:a": 0.1, "k:b": 0.2, "k:c": 0.2, "k:d": 0.4}
    rows = book_rows(
        {key: {"churn_probability": p} for key, p in at.items()} | {"k:e": OUT | {"churn_probability": 0.0}}
    )
    book = read_book(write_book(tmp_path, facts(), rows, keep=3))
    # below .2 is one of four, and two are equal to it: (1 + 2 / 2) / 4
    assert [book.percentile(p) for p in (0.05, 0.2, 0.3, 0.5)] == [0.0, 50.0, 75.0, 100.0]
    empty = read_book(write_book(tmp_path, facts(), book_rows({"k:e": OUT}), keep=3))
    assert empty.percentile(0.5) is None


def test_the_oldest_books_make_room_and_numbers_go_on(tmp_path: Path) -> None:
    names = lay_books(tmp_path, [{"k:a": {}}] * 5, keep=2)
    assert [name.seq for name in names] == [1, 2, 3, 4, 5]
    assert list_books(tmp_path) == (names[3], names[4])
    assert newest_book(tmp_path) == names[4]


def test_books_only_go_forward_in_time(tmp_path: Path) -> None:
    write_book(tmp_path, facts(NIGHT_US), book_rows({"k:a": {}}), keep=3)
    write_book(tmp_path, facts(NIGHT_US, "second"), book_rows({"k:a": {}}), keep=3)
    with pytest.raises(ConfigurationError, match="newest book of scores is as of 2024-03-18T00:00:00Z"):
        write_book(tmp_path, facts(NIGHT_US - 1), book_rows({"k:a": {}}), keep=3)
    assert len(list_books(tmp_path)) == 2


def test_one_writer_at_a_time_and_what_a_killed_one_left_is_cleared(tmp_path: Path) -> None:
    (tmp_path / "00000001_2024-03-18T000000Z_first.part").write_bytes(b"PAR1 half")
    with exclusive(tmp_path / ".lock", "x"), pytest.raises(UnavailableError):
        write_book(tmp_path, facts(), book_rows({"k:a": {}}), keep=3)
    assert list_books(tmp_path) == ()
    write_book(tmp_path, facts(), book_rows({"k:a": {}}), keep=3)
    assert list(tmp_path.glob("*.part")) == []


def test_without_a_book_the_message_says_how_to_make_one(tmp_path: Path) -> None:
    with pytest.raises(ArtefactError, match="holdfast score"):
        newest_book(tmp_path)


def test_changes_tell_who_entered_who_changed_and_who_left(tmp_path: Path) -> None:
    first, second = lay_books(
        tmp_path,
        [
            {"k:a": {}, "k:b": {}, "k:c": HIGH, "k:d": {}, "k:e": OUT, "k:f": HIGH},
            {"k:a": {}, "k:b": HIGH, "k:c": HIGH | OUT, "k:e": HIGH, "k:f": {}, "k:g": {}},
        ],
    )
    found = band_changes(read_book(first), read_book(second)).page(0, 99)
    assert [(one.customer_key, one.change, one.band_before, one.band) for one in found] == [
        ("k:b", "band_changed", "low", "high"),
        ("k:c", "left", "high", None),  # still scored, but silent for too long to be asked about
        ("k:d", "left", "low", None),  # not in the book any more
        ("k:e", "entered", None, "high"),
        ("k:f", "band_changed", "high", "low"),
        ("k:g", "entered", None, "low"),
    ]
    assert [one.churn_probability for one in found] == [0.9, None, None, 0.9, 0.1, 0.1]


def test_from_nothing_everybody_eligible_enters(tmp_path: Path) -> None:
    (only,) = lay_books(tmp_path, [{"k:a": {}, "k:b": HIGH, "k:e": OUT}])
    found = band_changes(None, read_book(only))
    assert [one.customer_key for one in found.page(0, 9)] == ["k:a", "k:b"]
    assert [one.customer_key for one in found.page(1, 9)] == ["k:b"]
    assert found.page(2, 9) == ()


def test_applying_the_changes_gives_the_newest_state_whatever_happened(tmp_path: Path) -> None:
    rng = np.random.default_rng(3)
    keys = [f"k:{number:03d}" for number in range(60)]
    nights = []
    for _ in range(6):
        there = rng.random(60) < 0.8
        nights.append(
            {
                key: (HIGH if rng.random() < 0.5 else {}) | {"eligible": bool(rng.random() < 0.8)}
                for key, known in zip(keys, there, strict=True)
                if known
            }
        )
    books = [read_book(name) for name in lay_books(tmp_path, nights)]
    state: dict[str, str | None] = {}
    for before, after in zip([None, *books], books, strict=False):
        for one in band_changes(before, after).page(0, 1_000):
            assert state.get(one.customer_key) == one.band_before
            state[one.customer_key] = one.band
    last = {key: told.get("band", "low") for key, told in nights[-1].items() if told["eligible"]}
    assert {key: band for key, band in state.items() if band} == last


def test_the_reader_holds_the_newest_book_and_the_one_of_a_week_ago(tmp_path: Path) -> None:
    books = ScoreBooks(tmp_path)
    books.poll(NIGHT_US)
    assert (books.newest, books.near(NIGHT_US, "first")) == (None, None)
    names = lay_books(tmp_path, [{"k:a": {}}] * 9)
    books.poll(NIGHT_US + DAY_US // 3)
    assert books.newest is not None
    assert books.newest.name == names[-1]
    week_ago = books.near(NIGHT_US + DAY_US // 3 - 7 * DAY_US, "first")
    assert week_ago is not None
    assert week_ago.name == names[1]
    assert books.near(NIGHT_US - 7 * DAY_US, "second") is None
    assert books.near(NIGHT_US - 3 * DAY_US, "first") is None  # it is there, but not in memory


def test_a_damaged_book_leaves_the_reader_with_the_one_before(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    (name,) = lay_books(tmp_path, [{"k:a": {}}])
    books = ScoreBooks(tmp_path)
    books.poll(NIGHT_US)
    (tmp_path / "00000002_2024-03-19T000000Z_first.parquet").write_bytes(b"PAR1 half")
    books.poll(NIGHT_US)
    books.poll(NIGHT_US)
    assert books.newest is not None
    assert books.newest.name == name
    assert [record.message for record in caplog.records].count(caplog.records[0].message) == 1
    with pytest.raises(ArtefactError, match="score again"):
        books.open(books.names[-1])
