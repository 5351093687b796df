"""The settings of a release: what it carries beside its models."""

from __future__ import annotations

from dataclasses import dataclass, field

from features.errors import ConfigurationError

__all__ = ["BandSettings", "ReleaseSettings"]


@dataclass(frozen=True)
class BandSettings:
    """Which share of the calibration slice falls into the high band, and which into the medium one."""

    high_share: float = 0.1
    medium_share: float = 0.2

    def __post_init__(self) -> None:
        if not (self.high_share > 0 and self.medium_share > 0 and self.high_share + self.medium_share < 1):
            raise ConfigurationError(
                f"release.bands has the shares {self.high_share} and {self.medium_share}; they must be above 0 and "
                "together below 1"
            )


@dataclass(frozen=True)
class ReleaseSettings:
    """What a release carries beside its models."""

    bands: BandSettings = field(default_factory=BandSettings)
