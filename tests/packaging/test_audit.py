"""Known vulnerabilities: a service that knows nothing must not pass for a clean answer."""

from pathlib import Path

import pytest

from requirements.audit import KNOWN_FAULT, audit

LOCK = [Path("serving.txt")]
FAULT = {"id": "PYSEC-1", "fix_versions": ["2.0"]}


def answering(*answers):
    """Answers to the question about the known fault, then to the one about the lock."""
    left = list(answers)
    return lambda _files, _seconds: left.pop(0)


def known():
    name, version = KNOWN_FAULT.split("==")
    return [{"name": name, "version": version, "vulns": [FAULT]}]


@pytest.mark.parametrize(
    "answer",
    [
        None,
        [],
        [{"name": "jinja2", "skip_reason": "Dependency not found on PyPI and could not be audited"}],
        [{"name": "jinja2", "version": "2.11.2", "vulns": []}],
    ],
    ids=["silent", "empty", "unknown", "clean"],
)
def test_service_that_does_not_tell_the_known_fault_audits_nothing_and_it_is_said(answer, capsys):
    assert audit(LOCK, required=False, ask=answering(answer)) == 0
    assert "NOT AUDITED" in capsys.readouterr().err
    assert audit(LOCK, required=True, ask=answering(answer)) == 2


def test_vulnerability_fails_and_names_package_and_mended_version(capsys):
    locked = [{"name": "a", "version": "1.0", "vulns": [FAULT]}, {"name": "b", "version": "3.1", "vulns": []}]
    assert audit(LOCK, required=False, ask=answering(known(), locked)) == 1
    assert "a 1.0: PYSEC-1, mended in 2.0" in capsys.readouterr().err


def test_package_that_the_service_does_not_know_is_no_clean_package(capsys):
    locked = [{"name": "a", "skip_reason": "not found"}]
    assert audit(LOCK, required=False, ask=answering(known(), locked)) == 1
    assert "a: not judged, not found" in capsys.readouterr().err


def test_clean_lock_passes_and_says_how_many_were_asked_about(capsys):
    locked = [{"name": "a", "version": "1.0", "vulns": []}]
    assert audit(LOCK, required=True, ask=answering(known(), locked)) == 0
    assert "1 packages audited, 0 findings" in capsys.readouterr().err


def test_service_that_falls_silent_in_between_audits_nothing():
    assert audit(LOCK, required=True, ask=answering(known(), None)) == 2
