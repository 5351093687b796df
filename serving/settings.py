"""What a running service is told: read once, from a mapping of the environment, at the edge.

Every name starts with `HOLDFAST_`; an unknown one is refused by name, so a misspelt setting never passes silently.
"""

from __future__ import annotations

import dataclasses
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from features.errors import ConfigurationError
from features.workspace import Workspace
from serving.release_signature import TrustedKeys
from serving.structured_logs import FORMATS

__all__ = ["ServeCommand", "ServiceSettings", "TokenSettings", "is_loopback", "serve_command", "service_settings"]

PREFIX = "HOLDFAST_"
SERVICE = "serving.service:HoldfastService"
_FLAGS = ("true", "false")
_ACCESS = ("keys", "open")
_TOKENS = ("jwt_algorithm", "jwt_key", "jwt_audience", "jwt_issuer")
TOKEN_ALGORITHMS = ("RS256", "ES256", "EdDSA", "HS256")
_LOOPBACK = frozenset({"localhost", "127.0.0.1", "[::1]", "::1"})


def is_loopback(host: str) -> bool:
    """Whether a host is an address of this machine alone."""
    return host in _LOOPBACK


@dataclass(frozen=True)
class TokenSettings:
    """What a token must be: `key_file` holds a public key (PEM), or for HS256 a secret of at least 32 bytes."""

    algorithm: str
    key_file: Path
    audience: str
    issuer: str

    def __post_init__(self) -> None:
        if self.algorithm not in TOKEN_ALGORITHMS:
            raise ConfigurationError(f"{PREFIX}JWT_ALGORITHM must be one of {', '.join(TOKEN_ALGORITHMS)}")


@dataclass(frozen=True)
class ServiceSettings:
    """Settings of one service process group.

    `release` seeds an empty rollout state only: afterwards the state in the store decides what is served.
    `trusted_keys` are public keys, or the path of a file of them, in place of the workspace's own.
    `accept_unsigned_releases` is for development alone: anybody who can write a folder then decides what is served.
    `store` is the URL of the service's database, which may hold a password; without one it is a file in the workspace.
    `access` is `keys` (callers show one) or `open`; where it is not said, open as long as `host` is loopback.
    `allow_open_access` lets everybody who reaches the service do everything. `public_metrics` shows /metrics to all.
    `customer_per_minute` bounds the calls about one customer or visitor. The `jwt_` four, or none, admit tokens.
    `shadow_memory_mib` is the address space that the process of a shadow may take.
    `log_format` is json or text, without it text on a terminal alone; `access_log` writes a line for each request.
    `otlp_endpoint` is where traces go, such as http://collector:4318; without it there are none.
    `max_wait_ms` is how long requests may wait for their turn before it counts as overload, and `drain_s` how long
    the service answers on once it is told to stop.
    `clock_shift_us` is added to the machine's clock: for a log that ended in the past, "now" can be its last day.
    """

    workspace: Path
    release: str | None = None
    host: str = "127.0.0.1"
    port: int = 3000
    workers: int = 1
    max_body_bytes: int = 1_048_576
    max_pending_events: int = 20_000
    max_pending_decisions: int = 10_000
    lock_timeout_ms: int = 2_000
    max_wait_ms: int = 50
    drain_s: int = 2
    rollout_poll_ms: int = 500
    rollout_interval_s: int = 5
    reasons_count: int = 3
    recommendation_ttl_s: int = 300
    clock_shift_us: int = 0
    trusted_keys: str | None = None
    accept_unsigned_releases: bool = False
    store: str | None = dataclasses.field(default=None, repr=False)
    access: str | None = None
    allow_open_access: bool = False
    public_metrics: bool = False
    shadow_memory_mib: int = 8_192
    customer_per_minute: int | None = None
    jwt_algorithm: str | None = None
    jwt_key: str | None = None
    jwt_audience: str | None = None
    jwt_issuer: str | None = None
    log_format: str | None = None
    access_log: bool = True
    otlp_endpoint: str | None = None

    def __post_init__(self) -> None:
        for field in dataclasses.fields(self):
            value = getattr(self, field.name)
            if isinstance(value, int) and not isinstance(value, bool) and value < 1 and field.name != "clock_shift_us":
                raise ConfigurationError(f"{PREFIX}{field.name.upper()} is {value}; it must be at least 1")
        if self.port > 65_535:
            raise ConfigurationError(f"{PREFIX}PORT is {self.port}; it must be at most 65535")
        if self.access not in (None, *_ACCESS):
            raise ConfigurationError(f"{PREFIX}ACCESS must be one of {', '.join(_ACCESS)}")
        if self.access == "open" and not is_loopback(self.host) and not self.allow_open_access:
            raise ConfigurationError(
                f"{PREFIX}ACCESS is open and {PREFIX}HOST is not loopback: everybody who reaches it could do "
                f"everything; write keys, or {PREFIX}ALLOW_OPEN_ACCESS=true if something in front of it asks for keys"
            )
        given = [name for name in _TOKENS if getattr(self, name) is not None]
        if given and len(given) < len(_TOKENS):
            raise ConfigurationError(f"tokens need all of {', '.join(PREFIX + name.upper() for name in _TOKENS)}")
        _ = self.tokens  # a wrong algorithm is refused at once
        if self.log_format not in {None, *FORMATS}:
            raise ConfigurationError(f"{PREFIX}LOG_FORMAT must be one of {', '.join(FORMATS)}")

    @property
    def asks_for_keys(self) -> bool:
        """Whether callers on this machine, too, show a key."""
        return self.access == "keys" or (
            self.access is None and not is_loopback(self.host) and not self.allow_open_access
        )

    @property
    def openness(self) -> str:
        """Words for whom no key is asked of, where that is so."""
        if self.allow_open_access:
            return "access is open: everybody who reaches this service can do everything"
        return (
            "access is open to this machine: programs on it need no key, others do; "
            f"{PREFIX}ACCESS=keys asks everybody for one"
        )

    @property
    def tokens(self) -> TokenSettings | None:
        """What tokens must be, where any are admitted."""
        if self.jwt_algorithm is None or self.jwt_key is None or self.jwt_audience is None or self.jwt_issuer is None:
            return None
        return TokenSettings(self.jwt_algorithm, Path(self.jwt_key), self.jwt_audience, self.jwt_issuer)

    @property
    def places(self) -> Workspace:
        """The paths inside the workspace."""
        return Workspace(self.workspace, self.store)

    def trusted(self) -> TrustedKeys:
        """The keys whose releases are served, as they are now.

        Raises:
            ConfigurationError: `trusted_keys` is neither keys nor a file that is there.
            ArtefactError: a file of keys holds something else.
        """
        given = self.trusted_keys
        found = TrustedKeys.load(self.places.trusted_release_keys) if given is None else TrustedKeys.read(given)
        return dataclasses.replace(found, accept_unsigned=self.accept_unsigned_releases)


def service_settings(environment: Mapping[str, str]) -> ServiceSettings:
    """Settings from a mapping of the environment; names without the prefix are not looked at.

    Raises:
        ConfigurationError: a name is unknown, the workspace is missing, or a number is not one.

    >>> service_settings({"HOLDFAST_WORKSPACE": "shop", "HOLDFAST_PORT": "8080"}).port
    8080
    >>> service_settings({"HOLDFAST_WORKSPACE": "shop", "HOLDFAST_PROT": "8080"})
    Traceback (most recent call last):
    ...
    features.errors.ConfigurationError: unknown setting HOLDFAST_PROT; known: HOLDFAST_WORKSPACE, HOLDFAST_RELEASE, \
HOLDFAST_HOST, HOLDFAST_PORT, HOLDFAST_WORKERS, HOLDFAST_MAX_BODY_BYTES, HOLDFAST_MAX_PENDING_EVENTS, \
HOLDFAST_MAX_PENDING_DECISIONS, HOLDFAST_LOCK_TIMEOUT_MS, HOLDFAST_MAX_WAIT_MS, HOLDFAST_DRAIN_S, \
HOLDFAST_ROLLOUT_POLL_MS, HOLDFAST_ROLLOUT_INTERVAL_S, HOLDFAST_REASONS_COUNT, HOLDFAST_RECOMMENDATION_TTL_S, \
HOLDFAST_CLOCK_SHIFT_US, HOLDFAST_TRUSTED_KEYS, HOLDFAST_ACCEPT_UNSIGNED_RELEASES, HOLDFAST_STORE, HOLDFAST_ACCESS, \
HOLDFAST_ALLOW_OPEN_ACCESS, HOLDFAST_PUBLIC_METRICS, HOLDFAST_SHADOW_MEMORY_MIB, \
HOLDFAST_CUSTOMER_PER_MINUTE, HOLDFAST_JWT_ALGORITHM, \
HOLDFAST_JWT_KEY, HOLDFAST_JWT_AUDIENCE, HOLDFAST_JWT_ISSUER, HOLDFAST_LOG_FORMAT, HOLDFAST_ACCESS_LOG, \
HOLDFAST_OTLP_ENDPOINT
    """
    fields = {PREFIX + field.name.upper(): field for field in dataclasses.fields(ServiceSettings)}
    given: dict[str, object] = {}
    for name, text in environment.items():
        if not name.startswith(PREFIX):
            continue
        if name not in fields:
            raise ConfigurationError(f"unknown setting {name}; known: {', '.join(fields)}")
        given[fields[name].name] = _typed(name, str(fields[name].type), text)
    if "workspace" not in given:
        raise ConfigurationError(f"missing setting {PREFIX}WORKSPACE; write the path of the shop's folder")
    return ServiceSettings(**given)  # type: ignore[arg-type]


def _typed(name: str, kind: str, text: str) -> object:
    if kind == "Path":
        return Path(text)
    if kind == "bool":
        if text not in _FLAGS:
            raise ConfigurationError(f"{name} must be true or false")
        return text == "true"
    if not kind.startswith("int"):
        return text
    try:
        return int(text)
    except ValueError:
        raise ConfigurationError(f"{name} must be a whole number") from None


def environment_of(settings: ServiceSettings) -> dict[str, str]:
    """The mapping that `service_settings` reads back to the same settings."""
    pairs = ((field.name, getattr(settings, field.name)) for field in dataclasses.fields(settings))
    return {
        PREFIX + name.upper(): str(value).lower() if isinstance(value, bool) else str(value)
        for name, value in pairs
        if value is not None
    }


@dataclass(frozen=True)
class ServeCommand:
    """The command that serves: its arguments, and what its environment needs beyond the caller's own."""

    argv: tuple[str, ...]
    env: dict[str, str]


def serve_command(settings: ServiceSettings) -> ServeCommand:
    """How to start the BentoML service with these settings; nothing is started here."""
    argv = (sys.executable, "-m", "bentoml", "serve", SERVICE, "--host", settings.host, "--port", str(settings.port))
    env = environment_of(dataclasses.replace(settings, workspace=settings.workspace.absolute()))
    return ServeCommand(
        argv,
        env
        | {
            "BENTOML_DO_NOT_TRACK": "True",
            "BENTOML_HOME": str(settings.places.bentoml_home.absolute()),
            "MLFLOW_DISABLE_TELEMETRY": "true",
            "OPENBLAS_NUM_THREADS": "1",
            "OMP_NUM_THREADS": "1",
        },
    )
