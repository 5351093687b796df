"""Sticky assignment: uniform, independent between salts, and only ever widening."""

import hashlib

import numpy as np

from serving.assignment import arm_of, bucket

KEYS = [f"k:{number}" for number in range(20_000)]


def test_bucket_is_the_first_eight_bytes_of_the_hash_over_two_to_the_64() -> None:
    digest = hashlib.sha256(b"salt\x00k:1").hexdigest()
    assert bucket("salt", "k:1") == int(digest[:16], 16) / 2**64


def test_buckets_are_uniform() -> None:
    places = np.sort([bucket("salt", key) for key in KEYS])
    distance = np.abs(places - (np.arange(len(KEYS)) + 0.5) / len(KEYS)).max()
    assert distance < 1.63 / np.sqrt(len(KEYS))  # Kolmogorov-Smirnov, 1%


def test_two_salts_place_customers_independently() -> None:
    in_a = [key for key in KEYS if bucket("a", key) < 0.1]
    both = sum(bucket("b", key) < 0.1 for key in in_a) / len(in_a)
    assert abs(both - 0.1) < 4 * np.sqrt(0.09 / len(in_a))


def test_a_wider_share_keeps_everybody_who_had_the_challenger() -> None:
    had = {key for key in KEYS if arm_of("s", 0.1, key) == "challenger"}
    has = {key for key in KEYS if arm_of("s", 0.3, key) == "challenger"}
    assert had < has
