"""What knowing and counting callers costs: server CPU a request, in this process, without HTTP.

The gate stands in front of an application that does nothing; rounds of all cases take turns, medians are shown.
Run: python -m benchmarks.bench_access [--requests 20000] [--rounds 5]
"""

from __future__ import annotations

import argparse
import asyncio
import statistics
import tempfile
import time
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import jwt

from benchmarks.report import limit_words, print_and_keep, require_kept
from serving.access.counts import open_counts
from serving.access.gate import Access, Gate
from serving.access.key_ring import KeyRing
from serving.access.keys import RANDOM_BYTES, KeyWish, make_key
from serving.access.limits import Limits
from serving.access.tokens import Tokens
from serving.app import _routes
from serving.settings import ServiceSettings
from serving.store import Store

MOST_US = 60.0
"""Of the 150 us that authentication, limits, log, metrics and assignment may cost together."""

SECRET = b"a secret of the shop's sign-on, long enough"
NO_LIMIT = 10**9


def now_us() -> int:
    return time.time_ns() // 1_000


async def nothing(*_: Any) -> None:
    """An application that answers nothing."""


async def cpu_us(app: Any, scope: dict[str, Any], n: int) -> float:
    """Microseconds of CPU a request."""
    started = time.process_time()
    for _ in range(n):
        await app(dict(scope), nothing, nothing)
    return (time.process_time() - started) / n * 1e6


def scope_of(path: str, settings: ServiceSettings, credential: str | None) -> dict[str, Any]:
    headers = [(b"host", b"127.0.0.1:3000"), (b"accept", b"*/*"), (b"user-agent", b"crm"), (b"x-request-id", b"1")]
    if credential is not None:
        headers.append((b"authorization", f"Bearer {credential}".encode()))
    app = SimpleNamespace(state=SimpleNamespace(settings=settings))
    return {
        "type": "http", "method": "GET", "path": path, "headers": headers, "app": app, "server": ("127.0.0.1", 3000),
    }  # fmt: skip


def cases(folder: Path, store: Store) -> dict[str, tuple[Any, dict[str, Any]]]:
    """Each with the application that is asked and what it is asked."""
    (folder / "jwt").write_bytes(SECRET)
    guarded = ServiceSettings(
        folder, access="keys", jwt_algorithm="HS256", jwt_key=str(folder / "jwt"), jwt_audience="a", jwt_issuer="i"
    )
    wishes = {
        "a key": KeyWish("crm", ("predict",)),
        "a key with a limit a minute": KeyWish("crm", ("predict",), per_minute=NO_LIMIT),
        "a key with limits a minute and a day": KeyWish("crm", ("predict",), per_minute=NO_LIMIT, per_day=NO_LIMIT),
    }
    keys = {
        name: make_key(store, wish, bytes([number]) * RANDOM_BYTES, now_us())
        for number, (name, wish) in enumerate(wishes.items())
    }
    claims = {"iss": "i", "aud": "a", "exp": time.time() + 3_600, "scope": "predict"}
    keys["a token, met before"] = jwt.encode(claims, SECRET, "HS256")
    ring = KeyRing(store, now_us)
    ring.refresh()
    counts = open_counts(folder / "service.db", folder / "limits.db", 1_000)
    tokens = Tokens(guarded.tokens, now_us) if guarded.tokens is not None else None
    gate = Gate(nothing, routes=_routes(), access=lambda: Access(ring, Limits(counts, now_us), tokens))
    path = "/v1/customers/17850/churn"
    found = {"no gate": (nothing, scope_of(path, guarded, None))}
    found["open to this machine"] = (gate, scope_of(path, ServiceSettings(folder), None))
    return found | {name: (gate, scope_of(path, guarded, key)) for name, key in keys.items()}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--requests", type=int, default=20_000)
    parser.add_argument("--rounds", type=int, default=5)
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        store = Store.open(Path(name) / "service.db")
        asked = cases(Path(name), store)
        took: dict[str, list[float]] = {case: [] for case in asked}
        for _ in range(given.rounds):
            for case, (app, scope) in asked.items():
                took[case].append(asyncio.run(cpu_us(app, scope, given.requests)))
        store.close()
    base = statistics.median(took["no gate"])
    rows = [{"caller": case, "added_cpu_us": statistics.median(times) - base} for case, times in took.items()]
    worst = max(float(row["added_cpu_us"]) for row in rows)
    limits = {f"at most {worst:.1f} us a request are below {MOST_US:.0f}": worst < MOST_US}
    print_and_keep("access", "CPU of knowing and counting callers, a request", rows, limit_words(limits))
    require_kept("bench_access", limits)


if __name__ == "__main__":
    main()
