"""What to do about a score: band and reasons in, recommended actions out. Thin, and carried by the release."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from features.errors import ArtefactError
from serving import strict_json
from serving.bands import Band
from serving.languages import LANGUAGES, Language
from serving.reason_catalogue import catalogue
from serving.reasons import Reason, reason_kinds

__all__ = ["Action", "Policy"]

_WHAT = "the policy"
_BANDS = ("low", "medium", "high")


@dataclass(frozen=True)
class Action:
    """A recommended action and why, in words."""

    action: str
    why: str


def _catalogue_actions() -> dict[str, tuple[str, ...]]:
    return {kind.code: kind.actions for kind in reason_kinds() if kind.controllable and kind.actions}


@dataclass(frozen=True)
class Policy:
    """For customers in `act_in`, the actions that fit their controllable reasons that raise the risk.

    actions: by reason code, best first. otherwise: the action where no reason has one; None is to do nothing.
    """

    act_in: tuple[str, ...] = ("medium", "high")
    max_actions: int = 2
    otherwise: str | None = None
    actions: Mapping[str, tuple[str, ...]] = field(default_factory=_catalogue_actions)

    def recommended_actions(
        self, band: Band, reasons: Sequence[Reason], language: Language = LANGUAGES[0]
    ) -> tuple[Action, ...]:
        """At most `max_actions`, each once: the best action of each reason in turn; none outside `act_in`.

        Why is said in the language of the reasons; `language` is for what has no reason.
        """
        if band not in self.act_in:
            return ()
        chosen: dict[str, str] = {}
        for reason in reasons:
            if reason.controllable and reason.direction == "raises":
                fitting = next((action for action in self.actions.get(reason.code, ()) if action not in chosen), None)
                if fitting is not None:
                    chosen[fitting] = reason.text
        if not chosen and self.otherwise is not None:
            said = catalogue().shared["no_reason"][language]
            chosen[self.otherwise] = said["text"].format(band=said["bands"][band])
        return tuple(Action(action, why) for action, why in list(chosen.items())[: self.max_actions])

    def to_manifest(self) -> dict[str, object]:
        """The policy as JSON values."""
        return {
            "act_in": list(self.act_in),
            "max_actions": self.max_actions,
            "otherwise": self.otherwise,
            "actions": {code: list(actions) for code, actions in sorted(self.actions.items())},
        }

    @classmethod
    def from_manifest(cls, manifest: Mapping[str, Any]) -> Policy:
        """The policy that `to_manifest` wrote.

        Raises:
            ArtefactError: a part is missing, unknown, or of another type.
        """
        if set(manifest) != {"act_in", "max_actions", "otherwise", "actions"}:
            raise ArtefactError(f"{_WHAT} needs exactly act_in, max_actions, otherwise and actions")
        act_in = strict_json.texts(manifest, "act_in", _WHAT)
        if not set(act_in) <= set(_BANDS):
            raise ArtefactError(f"{_WHAT} acts in an unknown band; bands are {', '.join(_BANDS)}")
        otherwise = manifest["otherwise"]
        if otherwise is not None and not isinstance(otherwise, str):
            raise ArtefactError(f"{_WHAT} needs a text or null as otherwise")
        listed = strict_json.section(manifest, "actions", _WHAT)
        return cls(
            act_in=act_in,
            max_actions=strict_json.whole(manifest, "max_actions", _WHAT, 0, 100),
            otherwise=otherwise,
            actions={code: strict_json.texts(listed, code, _WHAT) for code in listed},
        )
