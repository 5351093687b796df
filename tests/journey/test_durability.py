"""Acknowledged events of a real service that is killed, traced, or left with a torn log, as `make bench-durability`."""

import os
import random
from pathlib import Path

import pytest

from benchmarks import sync_trace, torn_wal
from benchmarks.bench_durability import Killing, synced_before
from tests.tiny_shop import TinyShop, tiny_shop

pytestmark = pytest.mark.service


@pytest.fixture(scope="module")
def shop(tmp_path_factory: pytest.TempPathFactory) -> TinyShop:
    made = tiny_shop(tmp_path_factory.mktemp("durable") / "shop")
    made.release("first")
    return made


def test_nothing_acknowledged_is_lost_or_doubled_by_kill_nine(shop: TinyShop, tmp_path: Path) -> None:
    killing = Killing(shop.workspace, "first", tmp_path / "log", whom=("all", "worker", "leader"), keyed=False)
    killing.run(3, random.Random(1))
    assert [whom for whom, _ in killing.found] == ["all", "worker", "leader", "the end"]
    assert all(found.clean for _, found in killing.found), killing.found
    assert killing.found[-1][1].n_more == 0
    assert len(killing.stream.acknowledged) >= 80


def test_the_log_is_synced_before_each_acknowledgement(shop: TinyShop, tmp_path: Path) -> None:
    refused = sync_trace.why_not()
    if refused is not None and "CI" not in os.environ:
        pytest.skip(refused)
    shown = synced_before(shop.workspace, "first", 20, tmp_path)
    assert shown.unshown == ()
    assert shown.n_shown >= 20


def test_a_torn_or_changed_log_opens_to_a_clean_prefix(tmp_path: Path) -> None:
    rng = random.Random(2)
    kept = torn_wal.keep(tmp_path / "whole", rng)
    found = [
        torn_wal.opened(kept, torn_wal.damaged(kept.wal, rng, torn=number % 2 == 0), tmp_path / str(number))
        for number in range(40)
    ]
    assert {one.fault for one in found} == {None}
    assert len({one.n_rows for one in found}) > 5  # of different lengths
    assert torn_wal.opened(kept, kept.wal, tmp_path / "sound").n_rows == len(kept.rows)


WHOLE = """\
7 pwrite64(5<\\x2f\\x2d\\x77\\x61\\x6c>, "\\x00\\x00\\x00\\x02\\x00\\x00\\x00\\x02{pad}", 24, 32) = 24
7 pwrite64(5<\\x2f\\x2d\\x77\\x61\\x6c>, "\\x65\\x31", 2, 56) = 2
7 fdatasync(5<\\x2f\\x2d\\x77\\x61\\x6c> <unfinished ...>
8 write(9<socket:[1]>, "\\x00", 1) = 1
7 <... fdatasync resumed>) = 0
8 write(9<socket:[1]>, "{answer}", 20) = 20
""".replace("{pad}", "\\x00" * 16).replace(
    "{answer}", "".join(f"\\x{n:02x}" for n in b"HTTP/1.1 202\r\nid: r1\r\n\r\n")
)


def judged(lines: list[str]) -> tuple[str, ...]:
    return sync_trace.show(sync_trace.read(lines), {"e1": "r1"}).unshown


def test_what_is_not_synced_before_it_is_acknowledged_is_found() -> None:
    header, page, begun, other, ended, answer = WHOLE.splitlines()
    assert judged([header, page, begun, other, ended, answer]) == ()
    assert judged([header, page, begun, other, answer, ended]) == ("acknowledged before the log was synced",)
    assert judged([header, page, begun, ended, page, answer]) == ()  # written again with a later event
    assert judged([header, page, answer]) == ("acknowledged before the log was synced",)
    assert judged([header, page, begun, ended.replace("= 0", "= -1 EIO (Input/output error)"), answer]) != ()
    assert judged([header, begun, ended, page, answer]) == ("acknowledged before the log was synced",)
    assert judged([page, begun, ended, header, answer]) == ("synced before the commit was written",)
    assert judged([header, begun, ended, answer]) == ("acknowledged without having been written",)
    assert judged([header, page, begun, other, ended]) == ("no acknowledgement was sent",)
