"""Answers that are given again: who repeats a call with the same Idempotency-Key gets what the first one got.

The store keeps them for a day, so any worker knows them. Keys are chosen by callers and may say anything: what is kept
is a hash of the caller, the call and the key.
"""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import Callable
from dataclasses import dataclass
from weakref import WeakValueDictionary

import sqlalchemy as sa

from features.instants import DAY_US
from serving.store import Store
from serving.store_schema import kept_answers

__all__ = ["GIVEN_UP_US", "Asked", "Kept", "KeptAnswers"]

GIVEN_UP_US = 30_000_000
"""After it nobody works on a claim any more: a request takes at most 20 seconds, so its worker was killed."""


@dataclass(frozen=True)
class Asked:
    """A call with a key: hashes of who asked what by which key, and of the body."""

    name: str
    body_sha256: str

    @classmethod
    def of(cls, owner: str, call: str, key: str, body: bytes) -> Asked:
        """Nobody gets the answer of somebody else, or of another call."""
        name = hashlib.sha256(f"{owner}\0{call}\0{key}".encode()).hexdigest()
        return cls(name, hashlib.sha256(body).hexdigest())


@dataclass(frozen=True)
class Kept:
    """What is known of a call: `status` and `answer` are None while somebody works on it."""

    body_sha256: str
    claimed_us: int
    status: int | None
    answer: bytes | None


class KeptAnswers:
    """Claims, keeps and finds answers. `turn` lets the tasks of one process take turns, so that one alone claims."""

    def __init__(self, store: Store, clock: Callable[[], int], new_id: Callable[[], str]) -> None:
        self._store = store
        self._clock = clock
        self._new_id = new_id
        self._turns: WeakValueDictionary[str, asyncio.Lock] = WeakValueDictionary()

    def turn(self, asked: Asked) -> asyncio.Lock:
        """The lock of a call in this process."""
        return self._turns.setdefault(asked.name, asyncio.Lock())

    def find(self, asked: Asked) -> Kept | None:
        """What is known of a call; None where nobody asked lately, or who did was killed."""
        columns = (kept_answers.c[name] for name in ("body_sha256", "claimed_us", "status", "answer"))
        with self._store.read() as connection:
            row = connection.execute(sa.select(*columns).where(kept_answers.c.asked == asked.name)).first()
        if row is None or row.claimed_us < self._forgotten_before(row.status):
            return None
        if row.status is None and row.claimed_us > self._clock() + GIVEN_UP_US:
            return None
        return Kept(*row)

    def claim(self, asked: Asked) -> str | None:
        """The right to answer a call, once for all processes; None where another one has it or has answered."""
        table, claim, now_us = kept_answers, self._new_id(), self._clock()
        at_work = table.c.claimed_us.between(now_us - GIVEN_UP_US, now_us + GIVEN_UP_US)  # else the clock was set back
        given_up = sa.and_(table.c.status.is_(None), sa.not_(at_work))
        with self._store.write() as connection:
            connection.execute(sa.delete(table).where(table.c.claimed_us < now_us - DAY_US))
            connection.execute(sa.delete(table).where(table.c.asked == asked.name, given_up))
            if connection.scalar(sa.select(table.c.asked).where(table.c.asked == asked.name)) is not None:
                return None
            row = {"asked": asked.name, "body_sha256": asked.body_sha256, "claim": claim, "claimed_us": now_us}
            connection.execute(sa.insert(table), row)
        return claim

    def keep(self, claim: str, asked: Asked, status: int, answer: bytes) -> None:
        """Keep the answer that a claim led to."""
        mine = (kept_answers.c.asked == asked.name, kept_answers.c.claim == claim)
        with self._store.write() as connection:
            connection.execute(sa.update(kept_answers).where(*mine).values(status=status, answer=answer))

    def let_go(self, claim: str, asked: Asked) -> None:
        """Give a claim back that led to nothing: the next one who asks tries again."""
        mine = (kept_answers.c.asked == asked.name, kept_answers.c.claim == claim)
        with self._store.write() as connection:
            connection.execute(sa.delete(kept_answers).where(*mine))

    def _forgotten_before(self, status: int | None) -> int:
        return self._clock() - (GIVEN_UP_US if status is None else DAY_US)
