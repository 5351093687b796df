import hashlib
import hmac
import stat

import pyarrow as pa
import pytest

from features.errors import ArtefactError, DataError
from features.pseudonyms import Pseudonyms


def test_a_pseudonym_is_the_key_id_and_half_of_the_hmac():
    expected = hmac.new(b"k" * 32, b"customer\x0017850", hashlib.sha256).hexdigest()[:32]
    assert Pseudonyms("k9", b"k" * 32).of("17850") == f"k9:{expected}"


def test_a_column_agrees_with_one_at_a_time_and_null_stays_null():
    pseudonyms = Pseudonyms("k", bytes(32))
    made = pseudonyms.of_column(pa.array(["a", None, "b", "a"])).to_pylist()
    assert made == [pseudonyms.of("a"), None, pseudonyms.of("b"), pseudonyms.of("a")]


def test_an_anonymous_visitor_is_not_the_customer_of_the_same_id():
    pseudonyms = Pseudonyms("k", bytes(32))
    assert pseudonyms.of("7") != pseudonyms.of_anonymous("7")


def test_a_created_key_loads_again_and_only_its_owner_can_read_it(tmp_path):
    path = tmp_path / "keys" / "pseudonyms.json"
    made = Pseudonyms.create(path)
    assert Pseudonyms.load_or_create(path) == made
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert made.key.hex() not in repr(made)


def test_a_key_is_never_written_over(tmp_path):
    Pseudonyms.create(tmp_path / "k.json")
    with pytest.raises(ArtefactError, match="already"):
        Pseudonyms.create(tmp_path / "k.json")


@pytest.mark.parametrize("content", ["", "{}", '{"active": "a", "keys": {"a": "00"}}', '{"active": "a", "keys": []}'])
def test_a_damaged_key_file_is_refused(tmp_path, content):
    (tmp_path / "k.json").write_text(content)
    with pytest.raises(ArtefactError):
        Pseudonyms.load(tmp_path / "k.json")


@pytest.mark.parametrize("identifier", ["", "x" * 257])
def test_an_id_of_no_or_too_many_characters_is_refused_and_not_shown(identifier):
    with pytest.raises(DataError) as caught:
        Pseudonyms("k", bytes(32)).of(identifier)
    assert "xxx" not in str(caught.value)
