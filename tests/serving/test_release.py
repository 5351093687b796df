import hashlib
import json
import mmap
import stat

import numpy as np
import pytest

from features.churn_features import CHURN_FEATURES
from features.errors import ArtefactError
from features.feature_set import FeatureSet
from serving.bands import Bands
from serving.policy import Policy
from serving.release import load_release, write_release
from serving.release_files import MANIFEST, RELEASE_FORMAT
from serving.release_refusal import ReleaseRefusedError
from serving.release_signature import SIGNATURE
from tests.tiny_shop import KEY, TRUSTED, churn_model, edit_manifest, recommender


def write(directory, name="first", feature_set=CHURN_FEATURES):
    return write_release(
        directory,
        name=name,
        key=KEY,
        created_at_us=1_700_000_000_000_000,
        feature_set=feature_set,
        churn=churn_model(0.0),
        recommender=recommender(),
        policy=Policy(),
        bands=Bands(0.3, 0.6),
        provenance={"event_log_version": 3},
    )


@pytest.fixture
def folder(tmp_path):
    return write(tmp_path)


def refused(folder, feature_set=CHURN_FEATURES):
    with pytest.raises(ReleaseRefusedError) as caught:
        load_release(folder, feature_set, TRUSTED)
    assert isinstance(caught.value, ArtefactError)
    return caught.value.reason


def replace(folder, path, data):
    """Another file with a manifest that fits it: what only reading the content can find."""
    (folder / path).write_bytes(data)
    described = {"sha256": hashlib.sha256(data).hexdigest(), "size": len(data)}
    edit_manifest(folder, lambda manifest: manifest["files"].update({path: described}))


def test_nobody_outside_the_group_may_read_a_release(folder):
    assert stat.S_IMODE(folder.stat().st_mode) == 0o750


def test_a_release_comes_back_as_it_was(folder):
    release = load_release(folder, CHURN_FEATURES, TRUSTED)
    assert release.name == "first"
    assert release.created_at_us == 1_700_000_000_000_000
    assert release.manifest["provenance"] == {"event_log_version": 3}
    assert release.fingerprint == CHURN_FEATURES.fingerprint()
    assert (release.bands, release.policy) == (Bands(0.3, 0.6), Policy())
    values = np.random.default_rng(0).normal(size=(50, len(CHURN_FEATURES)))
    np.testing.assert_array_equal(release.churn.probabilities(values), churn_model(0.0).probabilities(values))
    assert release.recommender.item_ids == recommender().item_ids


def test_the_same_parts_give_the_same_bytes(tmp_path):
    one, two = write(tmp_path / "a"), write(tmp_path / "b")
    files = sorted(path.relative_to(one) for path in one.rglob("*") if path.is_file())
    assert len(files) >= 4
    assert all((one / path).read_bytes() == (two / path).read_bytes() for path in files)


def test_nothing_but_the_release_is_left_behind(folder):
    assert [path.name for path in folder.parent.iterdir()] == ["first"]


def test_a_release_is_never_overwritten(folder):
    before = (folder / MANIFEST).read_bytes()
    with pytest.raises(ReleaseRefusedError, match="already"):
        write(folder.parent)
    assert (folder / MANIFEST).read_bytes() == before
    assert [path.name for path in folder.parent.iterdir()] == ["first"]


@pytest.mark.parametrize("name", ["", "../up", "a/b", ".hidden", "x" * 129])
def test_a_name_that_is_no_plain_name_is_refused(tmp_path, name):
    with pytest.raises(ReleaseRefusedError):
        write(tmp_path, name=name)


def test_a_folder_without_manifest_is_absent(tmp_path):
    assert refused(tmp_path) == "absent"


@pytest.mark.parametrize("path", ["churn/booster.txt", "churn/churn.json"])
def test_a_truncated_file_is_refused_by_its_size(folder, path):
    (folder / path).write_bytes((folder / path).read_bytes()[:-1])
    assert refused(folder) == "size"


def test_one_flipped_bit_in_any_file_is_refused(folder):
    for path in [path for path in folder.rglob("*") if path.is_file() and path.name not in {MANIFEST, SIGNATURE}]:
        whole = path.read_bytes()
        damaged = bytearray(whole)
        damaged[len(damaged) // 2] ^= 1
        path.write_bytes(damaged)
        assert refused(folder) == "sha256"
        path.write_bytes(whole)
    load_release(folder, CHURN_FEATURES, TRUSTED)


def test_a_missing_file_is_refused(folder):
    (folder / "churn" / "booster.txt").unlink()
    assert refused(folder) == "missing_file"


@pytest.mark.parametrize("path", ["extra.txt", "churn/extra.txt"])
def test_an_extra_file_is_refused(folder, path):
    (folder / path).write_text("x")
    assert refused(folder) == "extra_file"


def test_a_link_is_refused_even_to_the_right_bytes(folder, tmp_path):
    target = tmp_path / "elsewhere"
    (folder / "churn" / "booster.txt").rename(target)
    (folder / "churn" / "booster.txt").symlink_to(target)
    assert refused(folder) == "extra_file"


@pytest.mark.parametrize(
    "path", ["../outside", "/etc/passwd", "churn/../../outside", "churn/a/b", "other/file", "churn/.."]
)
def test_a_path_out_of_the_release_is_refused(folder, path):
    edit_manifest(folder, lambda manifest: manifest["files"].update({path: {"sha256": "0" * 64, "size": 1}}))
    assert refused(folder) == "path"


def test_another_feature_set_is_refused(folder):
    assert refused(folder, FeatureSet("churn", CHURN_FEATURES.features[:-1])) == "fingerprint"


def test_a_manifest_that_lies_about_the_fingerprint_is_refused(folder):
    other = FeatureSet("churn", CHURN_FEATURES.features[:-1])
    edit_manifest(folder, lambda manifest: manifest["feature_set"].update(fingerprint=other.fingerprint()))
    assert refused(folder, other) == "fingerprint"


def test_a_model_for_other_features_is_not_released(tmp_path):
    with pytest.raises(ReleaseRefusedError, match="train again"):
        write(tmp_path, feature_set=FeatureSet("churn", CHURN_FEATURES.features[:-1]))


def test_a_newer_format_is_refused(folder):
    edit_manifest(folder, lambda manifest: manifest.update(format=RELEASE_FORMAT + 1))
    assert refused(folder) == "format"


@pytest.mark.parametrize(
    "change",
    [
        lambda manifest: manifest.pop("files"),
        lambda manifest: manifest.update(files=[]),
        lambda manifest: manifest.update(created_at="2026-01-01T00:00:00"),
        lambda manifest: manifest.update(name=""),
        lambda manifest: manifest["files"]["churn/churn.json"].pop("size"),
        lambda manifest: manifest["files"]["churn/churn.json"].update(size=-1),
        lambda manifest: manifest["files"]["churn/churn.json"].update(sha256="../"),
    ],
)
def test_a_malformed_manifest_is_refused(folder, change):
    edit_manifest(folder, change)
    assert refused(folder) == "manifest"


@pytest.mark.parametrize(
    ("was", "becomes"), [('"high": 0.6', '"high": 0.7'), ("event_log_version", "event_log_versiom")]
)
def test_a_manifest_altered_in_its_bands_or_provenance_is_refused(folder, was, becomes):
    text = (folder / MANIFEST).read_text()
    assert was in text
    (folder / MANIFEST).write_text(text.replace(was, becomes))
    assert refused(folder) == "signature"


def test_a_manifest_that_is_no_json_is_refused_though_it_is_signed(folder):
    torn = (folder / MANIFEST).read_bytes()[:100]
    (folder / MANIFEST).write_bytes(torn)
    (folder / SIGNATURE).write_bytes(KEY.sign(torn))
    assert refused(folder) == "manifest"


def test_a_number_that_is_not_finite_is_refused_though_its_hash_fits(folder):
    content = json.loads((folder / "churn" / "churn.json").read_text())
    content["reference"][0] = float("nan")
    replace(folder, "churn/churn.json", json.dumps(content).encode())
    assert refused(folder) == "content"


def test_trees_that_lightgbm_would_die_of_are_refused_though_their_hash_fits(folder):
    text = (folder / "churn" / "booster.txt").read_bytes()
    replace(folder, "churn/booster.txt", text[: len(text) // 2])
    assert refused(folder) == "content"


def test_bands_and_policy_are_checked(folder):
    edit_manifest(folder, lambda manifest: manifest["bands"].update(high=2))
    assert refused(folder) == "content"


def test_the_arrays_of_the_recommender_are_mapped_and_not_copied(folder):
    factors = load_release(folder, CHURN_FEATURES, TRUSTED).recommender.by_name["als"].item_factors
    base = factors
    while getattr(base, "base", None) is not None:
        base = base.base
    assert isinstance(base, memoryview)
    assert isinstance(base.obj, mmap.mmap)
    assert not factors.flags.writeable
