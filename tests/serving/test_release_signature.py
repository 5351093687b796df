"""Signatures of releases: as RFC 8032 has them, and refused unless every condition holds."""

import logging
from pathlib import Path

import pytest

from features.churn_features import CHURN_FEATURES
from serving.release_refusal import ReleaseRefusedError
from serving.release_signature import SIGNATURE, SigningKey, TrustedKeys, key_id_of
from serving.releases import Releases
from serving.rollouts.state import RolloutState
from serving.storefronts import Storefronts
from tests.tiny_shop import KEY, TRUSTED, tiny_shop

# RFC 8032, section 7.1, TEST 1: the empty message
SECRET = "9d61b19deffd5a60ba844af492ec2cc44449c5697b326919703bac031cae7f60"
PUBLIC = "d75a980182b10ab7d54bfed3c964073a0ee172f3daa62325af021a68f707511a"
SIGNED = (
    "e5564300c360ac729086e2cc806e828a84877f1eb8e5d974d873e065224901555fb8821590a33bacc61e39701cf9b46b"
    "d25bf5f0595bbe24655141438e7a100b"
)


def reason(folder: Path, trusted: TrustedKeys = TRUSTED, manifest: bytes = b"m") -> str:
    with pytest.raises(ReleaseRefusedError) as caught:
        trusted.verify(folder, manifest)
    return caught.value.reason


def test_a_key_signs_as_the_standard_says() -> None:
    key = SigningKey(bytes.fromhex(SECRET))
    assert key.public.hex() == PUBLIC
    assert f'"signature": "{SIGNED}"' in key.sign(b"").decode()


def test_a_signature_holds_for_its_own_bytes_alone(tmp_path: Path) -> None:
    (tmp_path / SIGNATURE).write_bytes(KEY.sign(b"m"))
    assert TRUSTED.verify(tmp_path, b"m") == KEY.key_id == key_id_of(KEY.public)
    assert reason(tmp_path, manifest=b"n") == "signature"
    assert reason(tmp_path, TrustedKeys()) == "unknown_key"


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"{}",
        b'{"key_id": 1, "signature": "00"}',
        KEY.sign(b"m").replace(b'"key_id"', b'"more": 1,\n "key_id"'),
        KEY.sign(b"m").replace(b'"signature"', b'"signature": "", "signature"'),
        KEY.sign(b"m") + b" " * 4_096,
        KEY.sign(b"m").upper(),
    ],
)
def test_a_file_that_is_not_exactly_a_signature_is_refused(tmp_path: Path, content: bytes) -> None:
    (tmp_path / SIGNATURE).write_bytes(content)
    assert reason(tmp_path) == "signature"


def test_a_link_is_no_signature_even_where_unsigned_releases_are_accepted(tmp_path: Path) -> None:
    (tmp_path / "elsewhere").write_bytes(KEY.sign(b"m"))
    (tmp_path / SIGNATURE).symlink_to(tmp_path / "elsewhere")
    assert reason(tmp_path) == "unsigned"
    assert reason(tmp_path, TrustedKeys.of(KEY.public, accept_unsigned=True)) == "unsigned"


def test_an_unsigned_release_serves_only_where_that_is_asked_for_and_the_log_warns(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    shop = tiny_shop(tmp_path)
    shop.release("first")
    folder = shop.workspace.releases / "first"
    signature = (folder / SIGNATURE).read_bytes()
    (folder / SIGNATURE).unlink()

    def followed(*, accept_unsigned: bool) -> Releases:
        trusted = TrustedKeys.of(accept_unsigned=accept_unsigned)
        made = Releases(shop.workspace.releases.joinpath, CHURN_FEATURES, lambda: trusted, Storefronts(()))
        made.update(RolloutState("first"))
        return made

    assert followed(accept_unsigned=False).refusals["first"].reason == "unsigned"
    assert "development only" not in caplog.text
    with caplog.at_level(logging.WARNING):
        assert followed(accept_unsigned=True).served is not None
    assert "development only" in caplog.text
    (folder / SIGNATURE).write_bytes(signature)  # of a key that nobody trusts here
    assert followed(accept_unsigned=True).refusals["first"].reason == "unknown_key"
