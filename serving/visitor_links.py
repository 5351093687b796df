"""Which customer a visitor turned out to be: links, made by an event that names both, and what they mean.

A visitor is an anonymous id, as of a browser; whoever logs in there tells whose it is. What the visitor did before the
first link belongs to the customer of that link, what came later to whoever logged in last: the second person at a
shared computer gets nothing of the first, and the first nothing more from then on. "Before" and "after" are the order
of acceptance, which every process sees alike. The visitor's events stay under the visitor's key; who owns them is asked
when they are read.

A forgotten link keeps its place without its customer, so that what it gave falls to nobody else.
"""

from __future__ import annotations

from bisect import bisect_right, insort
from collections.abc import Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass

import sqlalchemy as sa

from serving.store import accepted_events, visitor_links

__all__ = ["Login", "VisitorLinks", "forget_links", "link_visitors", "links_of_unsealed"]

_KEYS_A_QUERY = 500


@dataclass(frozen=True)
class Login:
    """An accepted event that names a visitor and a customer."""

    event_id: str
    visitor_key: str
    customer_key: str


class VisitorLinks:
    """Links as read so far; `take` adds newer ones.

    Attributes:
        visitors_of: by customer, the visitors as whom the customer logged in; nobody without any is in it.
    """

    def __init__(self) -> None:
        self.visitors_of: dict[str, tuple[str, ...]] = {}
        self._of_visitor: dict[str, list[tuple[int, str | None]]] = {}

    def take(self, rows: Iterable[sa.RowMapping]) -> dict[str, Collection[str]]:
        """Add rows of the table in the order of `seq`: where a link has a place already, the newer row replaces it.

        Returns:
            The visitors of whom earlier events have another owner now, with the customers who may have lost or gained.
        """
        told: dict[str, Collection[str]] = {}
        for row in rows:
            visitor, customer = row["anonymous_key"], row["customer_key"]
            link = (row["from_seq"], customer)
            links = self._of_visitor.get(visitor)
            if links is None:
                self._of_visitor[visitor] = [link]
                told[visitor] = () if customer is None else (customer,)
            elif link[0] > links[-1][0]:  # what happened before has its owner
                links.append(link)
            else:
                told[visitor] = {*told.get(visitor, ()), *self._replace(visitor, links, link)}
            if customer is not None:
                others = self.visitors_of.get(customer, ())
                if visitor not in others:
                    self.visitors_of[customer] = (*others, visitor)
        return told

    def owner(self, visitor_key: str, seq: int) -> str | None:
        """Whose the visitor's event of this sequence number is; None for the visitor's alone."""
        links = self._of_visitor.get(visitor_key)
        if links is None:
            return None
        return links[max(bisect_right(links, seq, key=_place) - 1, 0)][1]

    def owner_of_sealed(self, visitor_key: str) -> str | None:
        """Whose the events are that were sealed under the visitor's own key.

        They were nobody's then: older than the first link, or given back when a customer was forgotten. Where they may
        be of the second sort, they stay the visitor's.
        """
        links = self._of_visitor.get(visitor_key)
        if links is None or any(customer is None for _, customer in links):
            return None
        return links[0][1]

    def knows(self, visitor_key: str) -> bool:
        """Whether the visitor has, or had, a link."""
        return visitor_key in self._of_visitor

    def _replace(self, visitor: str, links: list[tuple[int, str | None]], link: tuple[int, str | None]) -> set[str]:
        """Put a link into its place; the customers of the visitor before and after."""
        before = {customer for _, customer in links if customer is not None}
        links[:] = [one for one in links if one[0] != link[0]]
        insort(links, link, key=_place)
        after = {customer for _, customer in links if customer is not None}
        for gone in before - after:
            left = tuple(one for one in self.visitors_of.pop(gone) if one != visitor)
            if left:
                self.visitors_of[gone] = left
        return before | after


def link_visitors(connection: sa.Connection, logins: Sequence[Login], linked_us: int) -> int:
    """Link inside the `write` that keeps the events; how many links are new. Who is linked now is not linked again."""
    links = visitor_links.c
    last: dict[str, tuple[int, str | None]] = {}
    for keys in _parts(list(dict.fromkeys(login.visitor_key for login in logins))):
        query = sa.select(links.anonymous_key, links.from_seq, links.customer_key)
        for visitor, seq, customer in connection.execute(query.where(links.anonymous_key.in_(keys))):
            last[visitor] = max(last.get(visitor, (-1, None)), (seq, customer), key=_place)
    now = {visitor: customer for visitor, (_, customer) in last.items()}
    new = []
    for login in logins:
        if now.get(login.visitor_key) != login.customer_key:
            now[login.visitor_key] = login.customer_key
            new.append(login)
    if new:
        places = _places(connection, [login.event_id for login in new])
        connection.execute(
            sa.insert(visitor_links),
            [
                {
                    "anonymous_key": login.visitor_key,
                    "from_seq": places[login.event_id],
                    "customer_key": login.customer_key,
                    "linked_us": linked_us,
                }
                for login in new
            ],
        )
    return len(new)


def links_of_unsealed(connection: sa.Connection) -> VisitorLinks:
    """The links of visitors who have events that wait to be sealed."""
    waiting = sa.select(accepted_events.c.customer_key).where(accepted_events.c.sealed_version.is_(None))
    query = sa.select(visitor_links).where(visitor_links.c.anonymous_key.in_(waiting)).order_by(visitor_links.c.seq)
    found = VisitorLinks()
    found.take(connection.execute(query).mappings().all())
    return found


def forget_links(connection: sa.Connection, customer_key: str) -> tuple[str, ...]:
    """Take the customer out of every link, inside a `write`; the visitors who were linked, ascending.

    For an erasure, which should remove the events of these visitors as well: from now on they are nobody's. A running
    service follows with the next event that anybody sends.
    """
    links = visitor_links.c
    theirs = links.customer_key == customer_key
    found = connection.execute(sa.select(visitor_links).where(theirs).order_by(links.seq)).mappings().all()
    if found:
        connection.execute(sa.delete(visitor_links).where(theirs))
        # under new numbers, by which other processes learn of it
        kept = [
            {"anonymous_key": row["anonymous_key"], "from_seq": row["from_seq"], "linked_us": row["linked_us"]}
            for row in found
        ]
        connection.execute(sa.insert(visitor_links), kept)
    return tuple(sorted({row["anonymous_key"] for row in found}))


def _places(connection: sa.Connection, event_ids: Sequence[str]) -> dict[str, int]:
    """The sequence number of each accepted event."""
    columns = accepted_events.c
    places: dict[str, int] = {}
    for ids in _parts(event_ids):
        query = sa.select(columns.event_id, columns.seq).where(columns.event_id.in_(ids))
        places.update((event_id, seq) for event_id, seq in connection.execute(query))
    return places


def _parts(keys: Sequence[str]) -> Iterator[Sequence[str]]:
    return (keys[start : start + _KEYS_A_QUERY] for start in range(0, len(keys), _KEYS_A_QUERY))


def _place(link: tuple[int, str | None]) -> int:
    return link[0]
