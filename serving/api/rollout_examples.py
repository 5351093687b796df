"""The examples of the API document that are about rollouts."""

from __future__ import annotations

from typing import Any

__all__ = ["ROLLOUTS", "ROLLOUT_CHANGED", "SERVED"]

_STATE = {"champion": "r-5f0c2a9d11be", "share": 0.0, "salt": "", "revision": 1, "holdout_share": 0.05}
_UNDER_WAY = {
    **_STATE,
    "challenger": "r-8e21c4f7a05b",
    "share": 0.05,
    "salt": "4f1c9d20ab37e685",
    "revision": 4,
    "step": 2,
    "step_started_at": "2026-03-01T06:00:00Z",
    "paused": False,
    "approved": False,
}

ROLLOUT_CHANGED: dict[str, Any] = {"current": _UNDER_WAY}

SERVED: dict[str, Any] = {
    "at": "2026-03-01T09:30:00Z",
    "release": "r-8e21c4f7a05b",
    "experiment": {"key": "rollout-4f1c9d20ab37e685", "arm": "challenger"},
    "change": {"seq": 4, "at": "2026-03-01T06:00:00Z", "who": "controller", "why": "every gate of the step 1% passed"},
}

ROLLOUTS: dict[str, Any] = {
    "current": _UNDER_WAY,
    "next": {
        "action": "stay",
        "why": "the step lasts 1,800 s more",
        "gates": [
            {
                "gate": "errors",
                "ruling": "pass",
                "words": "answers that failed: 2 of 4,180 (0.05%) against 3 of 4,205 (0.07%)",
                "figures": {"n": 4180, "n_yes": 2, "n_control": 4205, "n_yes_control": 3},
            }
        ],
    },
    "history": [
        {
            "at": "2026-02-28T04:10:00Z",
            "seq": 1,
            "who": "ada",
            "action": "set_champion",
            "before": {},
            "after": _STATE,
            "why": "first release",
            "figures": {},
        }
    ],
}
