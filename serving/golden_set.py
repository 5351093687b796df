"""The golden set: inputs that a release is asked when it is made and again when it is loaded; answers must be the same.

Hashes show that the files are those that were written. The golden set shows that this machine, with these libraries,
makes of them the answers that were judged. The inputs are made up: factors of the model's medians, items of the
catalogue in turn; nobody's data is among them.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from features.customer_view import CustomerView
from features.errors import ArtefactError, HoldfastError
from features.instants import DAY_US, MINUTE_US, format_instant, parse_instant
from features.schema import EVENTS
from serving import strict_json
from serving.bands import Bands
from serving.churn_model import ChurnModel
from serving.pacing import breathe
from serving.recipe import Recipe
from serving.recommender import Recommender
from serving.release_refusal import ReleaseRefusedError
from serving.storefront import SlateRequest, Storefront

__all__ = ["SINGLE_TOLERANCE", "TOLERANCE", "Answering", "check_golden_set", "make_golden_set"]

Array = npt.NDArray[np.float64]

TOLERANCE = 1e-9
"""How far a number may be from the one written, as a part of the largest number of its row.

Sums of a few hundred float64 terms, added in another order or by another kernel, differ by about 1e-13 of the largest
term; the exponential of two math libraries by one unit in the last place. An altered model, another tree or another
feature order differs by 1e-4 and more: nothing lies in between.
"""

SINGLE_TOLERANCE = 1e-6
"""The same for scores of slates, which pass through float32 (6e-8) and are rounded to 9 decimals."""

_FORMAT = 1
_WHAT = "the golden set"
_FACTORS = (math.nan, 0.0, 0.25, 0.5, 1.0, 2.0, 4.0)
_MIXED = 25
_TURN = (math.sqrt(5) - 1) / 2  # its multiples lie evenly in [0, 1): as good as drawn, and the same everywhere
_LISTS = (0, 1, 3, 8)
_SHOWN = 10
_HALF = 0.5


@dataclass(frozen=True)
class Answering:
    """The parts of a release whose answers are compared."""

    churn: ChurnModel
    recommender: Recommender | None
    bands: Bands
    recipes: Mapping[str, Recipe]


def make_golden_set(parts: Answering, as_of_us: int) -> bytes:
    """The file of made-up inputs and what the parts answer to them, as JSON.

    Raises:
        ReleaseRefusedError: an answer is not finite, or every row is answered alike.
    """
    rows = _rows(parts.churn)
    item_ids = () if parts.recommender is None else parts.recommender.item_ids
    histories = [_in_turn(item_ids, length) for length in _LISTS]
    answers = _answers(parts, rows, histories, as_of_us)
    _check_sound(answers["probabilities"], answers["contributions"], *(scores for _, scores in answers["slates"]))
    content = {
        "format": _FORMAT,
        "as_of": format_instant(as_of_us),
        "rows": [[None if math.isnan(value) else value for value in row] for row in rows.tolist()],
        "histories": histories,
        "probabilities": answers["probabilities"].tolist(),
        "contributions": answers["contributions"].tolist(),
        "bands": parts.bands.of_many(answers["probabilities"]).tolist(),
        "slates": [{"items": ids, "scores": scores.tolist()} for ids, scores in answers["slates"]],
    }
    return strict_json.write_object(content)


def check_golden_set(data: Any, parts: Answering) -> None:
    """Ask the parts again what the file asks, and compare.

    Raises:
        ReleaseRefusedError: there is no such file, or an answer differs, is not finite, or all are alike.
    """
    if data is None:
        raise ReleaseRefusedError("golden", "the release has no golden set; make it again with `holdfast release`")
    try:
        content = strict_json.read_object(bytes(data), _WHAT)
        strict_json.whole(content, "format", _WHAT, _FORMAT, _FORMAT)
        rows = _table(content, "rows", len(parts.churn.feature_names))
        wanted = _Wanted.read(content, len(rows), rows.shape[1])
        lists = content.get("histories")
        if not isinstance(lists, list):
            raise ArtefactError(f"{_WHAT} needs a list histories")
        histories = [list(strict_json.texts({"items": one}, "items", _WHAT)) for one in lists]
        as_of_us = parse_instant(strict_json.text(content, "as_of", _WHAT))
        answers = _answers(parts, rows, histories, as_of_us)
    except HoldfastError as error:
        raise ReleaseRefusedError("golden", str(error)) from error
    _check_sound(answers["probabilities"], answers["contributions"], *(scores for _, scores in answers["slates"]))
    wanted.compare(answers, parts.bands)


@dataclass(frozen=True)
class _Wanted:
    """The answers that were written down."""

    probabilities: Array
    contributions: Array
    bands: tuple[str, ...]
    slates: tuple[tuple[tuple[str, ...], Array], ...]

    @classmethod
    def read(cls, content: Mapping[str, Any], n_rows: int, n_features: int) -> _Wanted:
        probabilities = strict_json.numbers(content, "probabilities", _WHAT)
        contributions = _table(content, "contributions", n_features + 1)
        bands = strict_json.texts(content, "bands", _WHAT)
        slates = content.get("slates")
        if not isinstance(slates, list) or not all(isinstance(slate, dict) for slate in slates):
            raise ArtefactError(f"{_WHAT} needs a list slates")
        if not len(probabilities) == len(contributions) == len(bands) == n_rows:
            raise ArtefactError(f"{_WHAT} does not have one answer a row")
        return cls(
            probabilities,
            contributions,
            bands,
            tuple(
                (strict_json.texts(one, "items", _WHAT), strict_json.numbers(one, "scores", _WHAT)) for one in slates
            ),
        )

    def compare(self, answers: Mapping[str, Any], bands: Bands) -> None:
        """Raises where an answer is another one."""
        _compare("churn probability", self.probabilities[:, None], answers["probabilities"][:, None])
        _compare("contribution", self.contributions, answers["contributions"])
        if tuple(bands.of_many(self.probabilities).tolist()) != self.bands:
            raise _differs("band")
        if len(self.slates) != len(answers["slates"]):
            raise _differs("number of slates")
        for (ids, scores), (found_ids, found) in zip(self.slates, answers["slates"], strict=True):
            if list(ids) != found_ids:
                raise _differs("slate")
            _compare("slate's score", scores[None], found[None], SINGLE_TOLERANCE)


def _answers(parts: Answering, rows: Array, histories: Sequence[Sequence[str]], as_of_us: int) -> dict[str, Any]:
    with np.errstate(all="ignore"):  # what is not finite is refused by its value
        probabilities, contributions = parts.churn.probabilities(rows, as_of_us), parts.churn.contributions(rows)
    return {
        "probabilities": probabilities,
        "contributions": contributions,
        "slates": [] if parts.recommender is None else list(_slates(parts, parts.recommender, histories, as_of_us)),
    }


def _slates(
    parts: Answering, recommender: Recommender, histories: Sequence[Sequence[str]], as_of_us: int
) -> Iterator[tuple[list[str], Array]]:
    """For each placement what each history is shown, and what goes with its first item."""
    storefront = Storefront(recommender, recommender.catalogue)
    views = [_view(items, as_of_us) for items in histories]
    for _, recipe in sorted(parts.recipes.items()):
        for items, view in zip(histories, views, strict=True):
            for seeds in ((), tuple(items[:1])) if items else ((),):
                asked = SlateRequest(limit=_SHOWN, seed_items=seeds)
                shown = storefront.slate(view, as_of_us, asked, recipe, _HALF).items
                breathe()
                yield [item.item_id for item in shown], np.array([item.score for item in shown], np.float64)


def _view(items: Sequence[str], as_of_us: int) -> CustomerView | None:
    """Somebody who bought and looked at these in turn, the last one a moment ago; None for nobody."""
    if not items:
        return None
    events = []
    for number, item_id in enumerate(items):
        at_us = as_of_us - MINUTE_US - (len(items) - 1 - number) * DAY_US
        bought = {"kind": "purchase", "amount_minor": 1_000, "currency": "EUR", "order_id": f"golden-{number}"}
        events.append(
            {
                "event_id": f"golden-{number}",
                "customer_key": "golden",
                "item_id": item_id,
                "occurred_at": at_us,
                "recorded_at": at_us,
                **({"kind": "view"} if number % 2 else bought),
            }
        )
    return CustomerView.from_events(pa.Table.from_pylist(events, schema=EVENTS.arrow))


def _rows(churn: ChurnModel) -> Array:
    """Nothing known; every feature at the same factor of its median; every feature at one of its own."""
    scale = np.where(np.isfinite(churn.medians) & (churn.medians != 0), churn.medians, 1.0)
    names = churn.feature_names
    rows = [
        np.array([_value(churn, name, at, at) for at, name in itertools.product([spot], names)]) for spot in _even()
    ]
    rows += [
        np.array([_value(churn, name, _spot(row, column), _spot(column, row)) for column, name in enumerate(names)])
        for row in range(_MIXED)
    ]
    coded = np.array([name in churn.categories for name in names])
    return np.where(coded, np.array(rows), np.array(rows) * scale)


def _even() -> list[float]:
    return [(number + _HALF) / len(_FACTORS) for number in range(len(_FACTORS))]


def _spot(one: int, other: int) -> float:
    """A place in [0, 1) for a pair."""
    return math.modf((one + 1) * (other + 1) * _TURN + one * _TURN**2)[0]


def _value(churn: ChurnModel, name: str, spot: float, coin: float) -> float:
    """A factor of the median, or a code of a category; missing now and then."""
    codes = churn.categories.get(name)
    if codes:
        return math.nan if coin < 1 / len(_FACTORS) else float(int(spot * len(codes)))
    return _FACTORS[int(spot * len(_FACTORS))]


def _in_turn(item_ids: Sequence[str], length: int) -> list[str]:
    """Items from all over the catalogue, each at most once."""
    places = [int(math.modf((number + 1) * _TURN)[0] * len(item_ids)) for number in range(length)]
    return [item_ids[place] for place in dict.fromkeys(places)] if item_ids else []


def _table(content: Mapping[str, Any], key: str, width: int) -> Array:
    """float64 (n, width); null is NaN."""
    rows = content.get(key)
    if not isinstance(rows, list) or not rows:
        raise ArtefactError(f"{_WHAT} needs a list {key}")
    found = []
    for row in rows:
        found.append(strict_json.nullable_numbers({key: row}, key, _WHAT))
        breathe()
    if any(len(row) != width for row in found):
        raise ArtefactError(f"{_WHAT} needs {width} numbers in each of {key}")
    return np.array(found)


def _check_sound(probabilities: Array, *others: Array) -> None:
    """What no model may answer, whatever was written down."""
    if not all(np.isfinite(part).all() for part in (probabilities, *others)):
        raise ReleaseRefusedError("golden", "the models answer the golden set with a number that is not finite")
    if np.ptp(probabilities) <= TOLERANCE:
        raise ReleaseRefusedError(
            "golden", "the churn model gives everybody in the golden set the same probability; train it again"
        )


def _compare(what: str, wanted: Array, found: Array, tolerance: float = TOLERANCE) -> None:
    """Refuse what differs by more than this part of the row's largest number."""
    if wanted.shape != found.shape:
        raise _differs(what)
    scale = np.abs(wanted).max(axis=1, keepdims=True, initial=0.0)
    if not (np.abs(found - wanted) <= tolerance * scale).all():
        raise _differs(what)


def _differs(what: str) -> ReleaseRefusedError:
    return ReleaseRefusedError(
        "golden",
        f"a {what} of the golden set is not the one written when the release was made; compare the library "
        "versions, or make the release again with `holdfast release`",
    )
