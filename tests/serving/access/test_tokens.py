"""Tokens: what is pinned is never read from the token, and a customer's token speaks for that customer alone."""

import base64
import json
from pathlib import Path
from typing import Any

import jwt
import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.asymmetric.rsa import generate_private_key
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from features.errors import ConfigurationError
from serving.access.tokens import Tokens
from serving.problems import Problem
from serving.settings import TokenSettings
from tests.callers import AUDIENCE, ISSUER, SECRET, token_of

NOW_US = 1_700_000_000_000_000
HOUR_US = 3_600_000_000


def tokens(folder: Path, key: bytes = SECRET, algorithm: str = "HS256") -> Tokens:
    (folder / "key").write_bytes(key)
    return Tokens(TokenSettings(algorithm, folder / "key", AUDIENCE, ISSUER), lambda: NOW_US)


def is_refused(by: Tokens, token: str) -> bool:
    try:
        by.caller(token)
    except Problem as problem:
        return problem.status == 401
    return False


def test_a_good_token_is_its_scopes(tmp_path: Path) -> None:
    caller = tokens(tmp_path).caller(token_of("predict audit", NOW_US))
    assert (caller.scopes, caller.customer_id) == ({"predict", "audit"}, None)
    assert "7" not in caller.name  # who it is stands in no log


@pytest.mark.parametrize(
    "claims",
    [
        {"iss": "https://evil.example"},
        {"iss": None},
        {"aud": "another service"},
        {"aud": None},
        {"exp": None},
        {"exp": NOW_US // 1_000_000},  # ends now
        {"exp": "soon"},
        {"exp": True},
        {"nbf": NOW_US // 1_000_000 + 60},
        {"scope": "predict everything"},
        {"customer_id": 7},
        {"customer_id": ""},
        {"customer_id": "c1", "scope": "predict admin"},
    ],
    ids=str,
)
def test_a_token_that_says_something_else_is_refused(tmp_path: Path, claims: dict[str, Any]) -> None:
    assert is_refused(tokens(tmp_path), token_of(**({"scope": "predict", "now_us": NOW_US} | claims)))


def test_algorithms_are_never_taken_from_the_token(tmp_path: Path) -> None:
    private = generate_private_key(65_537, 2_048)
    public = private.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
    by = tokens(tmp_path, public, "RS256")
    good = token_of("predict", NOW_US, key=private, algorithm="RS256")
    assert by.caller(good).scopes == {"predict"}
    header, body, signature = good.split(".")
    unsigned = encoded({"alg": "none", "typ": "JWT"})
    confused = f"{encoded({'alg': 'HS256', 'typ': 'JWT'})}.{body}"
    by_public = base64.urlsafe_b64encode(jwt.get_algorithm_by_name("HS256").sign(confused.encode(), public)).decode()
    for forged in (
        f"{unsigned}.{body}.",
        f"{unsigned}.{body}.{signature}",
        f"{confused}.{by_public.rstrip('=')}",  # the public key taken for a secret
        f"{header}.{encoded({'scope': 'admin', 'iss': ISSUER, 'aud': AUDIENCE, 'exp': 9e9})}.{signature}",
        token_of("predict", NOW_US, key=generate_private_key(65_537, 2_048), algorithm="RS256"),
        "..",
        "a.b.c",
    ):
        assert is_refused(by, forged)


def encoded(part: dict[str, Any]) -> str:
    return base64.urlsafe_b64encode(json.dumps(part).encode()).decode().rstrip("=")


def test_a_remembered_token_ends_all_the_same(tmp_path: Path) -> None:
    now = [NOW_US]
    (tmp_path / "key").write_bytes(SECRET)
    by = Tokens(TokenSettings("HS256", tmp_path / "key", AUDIENCE, ISSUER), lambda: now[0])
    token = token_of("predict", NOW_US)
    assert by.caller(token).scopes == {"predict"}
    now[0] += HOUR_US
    assert is_refused(by, token)


def test_a_key_that_does_not_fit_the_algorithm_stops_the_start(tmp_path: Path) -> None:
    ed25519 = Ed25519PrivateKey.generate().public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
    tokens(tmp_path, ed25519, "EdDSA")
    for key, algorithm in ((b"short", "HS256"), (ed25519, "HS256"), (ed25519, "RS256"), (b"", "EdDSA")):
        with pytest.raises(ConfigurationError, match="HOLDFAST_JWT_KEY"):
            tokens(tmp_path, key, algorithm)
    with pytest.raises(ConfigurationError, match="HOLDFAST_JWT_ALGORITHM"):
        TokenSettings("none", tmp_path / "key", AUDIENCE, ISSUER)
