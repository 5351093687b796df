"""Counting calls: exact whoever counts at once, all claims or none, and nothing that a crash can spoil for long."""

import fcntl
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from features.errors import UnavailableError
from serving.access.counts import Claim, Counts, open_counts

MANY = """
import sys
from pathlib import Path
from serving.access.counts import Claim, open_counts
where, folder, limit, n = sys.argv[1], Path(sys.argv[2]), int(sys.argv[3]), int(sys.argv[4])
counts = open_counts(where, folder / "limits.db", 2_000)
print("ready", flush=True)
sys.stdin.readline()
print(sum(counts.take([Claim("key minute", 60, limit)]) is None for _ in range(n)))
counts.close()
"""


@pytest.fixture(params=["sqlite", pytest.param("postgresql", marks=pytest.mark.service)])
def where(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """Where the store is that the counts belong to."""
    if request.param == "sqlite":
        return str(tmp_path / "service.db")
    return str(request.getfixturevalue("postgres").empty())


@pytest.fixture
def counts(where: str, tmp_path: Path) -> Iterator[Counts]:
    opened = open_counts(where, tmp_path / "limits.db", 2_000)
    yield opened
    opened.close()


def n_taken(counts: Counts, n: int, *claims: Claim) -> int:
    return sum(counts.take(claims) is None for _ in range(n))


def test_as_many_are_taken_as_the_limit_says_in_each_window_and_for_each_subject(counts: Counts) -> None:
    assert n_taken(counts, 12, Claim("a", 60, 7)) == 7
    assert n_taken(counts, 12, Claim("a", 120, 7)) == 7
    assert n_taken(counts, 12, Claim("b", 60, 3)) == 3
    assert n_taken(counts, 2, Claim("a", 60, 8)) == 1  # the limit was raised


def test_a_call_that_one_claim_refuses_is_counted_for_none(counts: Counts) -> None:
    day, minute = Claim("day", 60, 100), Claim("minute", 60, 2)
    assert [counts.take([day, minute]) for _ in range(4)] == [None, None, minute, minute]
    assert n_taken(counts, 200, day) == 98


def test_windows_that_ended_are_forgotten(counts: Counts) -> None:
    assert n_taken(counts, 1, Claim("a", 60, 1)) == 1
    counts.forget(61)
    assert n_taken(counts, 1, Claim("a", 60, 1)) == 1


@pytest.mark.slow
def test_processes_that_count_at_once_grant_exactly_the_limit(where: str, tmp_path: Path) -> None:
    limit, n_each = 1_000, 700
    words = [sys.executable, "-c", MANY, where, str(tmp_path), str(limit), str(n_each)]
    processes: list[Any] = [
        subprocess.Popen(words, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) for _ in range(2)
    ]
    for one in processes:
        assert one.stdout.readline() == "ready\n"
    for one in processes:
        one.stdin.write("\n")
        one.stdin.flush()
    taken = [int(one.communicate(timeout=60)[0]) for one in processes]
    assert sum(taken) == limit
    assert min(taken) > 0


@pytest.mark.service
def test_threads_on_one_server_grant_exactly_the_limit(postgres: Any, tmp_path: Path) -> None:
    opened = open_counts(postgres.empty(), tmp_path / "limits.db", 2_000)
    taken: list[int] = []
    threads = [
        threading.Thread(target=lambda: taken.append(n_taken(opened, 40, Claim("a", 60, 100), Claim("b", 60, 150))))
        for _ in range(4)
    ]
    for one in threads:
        one.start()
    for one in threads:
        one.join()
    opened.close()
    assert sum(taken) == 100


def test_a_damaged_file_is_made_anew(tmp_path: Path) -> None:
    path = tmp_path / "limits.db"
    opened = open_counts(tmp_path / "service.db", path, 2_000)
    assert n_taken(opened, 3, Claim("a", 60, 2)) == 2
    opened.close()
    path.write_bytes(b"torn" * 4_096)
    opened = open_counts(tmp_path / "service.db", path, 2_000)
    assert n_taken(opened, 3, Claim("a", 60, 2)) == 2
    opened.close()


def test_two_windows_that_share_a_page_are_counted_apart(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("serving.access.counts._PAGES", 1)
    opened = open_counts(tmp_path / "service.db", tmp_path / "limits.db", 2_000)
    claims = [Claim(f"subject {number}", 60, 2) for number in range(10)]
    assert [opened.take(claims) for _ in range(3)] == [None, None, claims[0]]
    opened.close()


def test_a_full_page_takes_those_whose_windows_have_ended_and_else_refuses(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("serving.access.counts._PAGES", 1)
    opened = open_counts(tmp_path / "service.db", tmp_path / "limits.db", 2_000)
    for number in range(64):
        assert opened.take([Claim(f"subject {number}", 60, 1)]) is None
    with pytest.raises(UnavailableError, match="more windows are open"):
        opened.take([Claim("one more", 120, 1)])
    opened.forget(61)
    assert n_taken(opened, 2, Claim("one more", 120, 1)) == 1
    opened.close()


def test_a_worker_that_was_stopped_in_its_turn_keeps_nobody_long(tmp_path: Path) -> None:
    opened = open_counts(tmp_path / "service.db", tmp_path / "limits.db", 2_000)
    with (tmp_path / "limits.db").open("rb") as other:
        fcntl.flock(other, fcntl.LOCK_EX)
        with pytest.raises(UnavailableError, match="cannot be counted"):
            opened.take([Claim("a", 60, 7)])
    assert opened.take([Claim("a", 60, 7)]) is None
    opened.close()
