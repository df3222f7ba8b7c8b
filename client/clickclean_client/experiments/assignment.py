"""Who is sent to the challenger: a pure function of the experiment's salt and the caller's key.

The rule is small so that any language can have it; docs/experiments.md gives it in several, with
test vectors. The bucket depends on nothing but salt and key, and an arm is the buckets below a
limit, so raising the percentage only adds keys.
"""

from __future__ import annotations

import hashlib
from typing import Final

from clickclean_client._exceptions import ExperimentError

BUCKETS: Final = 100_000
"""How finely keys are split: 0.001 percent."""

_UNIT_CHARACTERS: Final = 16


def digest(salt: str, key: str) -> bytes:
    """SHA-256 of salt, colon and key in UTF-8, which bucket and pseudonym are taken from.

    Raises:
        ExperimentError: the salt or the key is empty, or is no text that UTF-8 can write.
    """
    if not (isinstance(salt, str) and isinstance(key, str) and salt and key):
        raise ExperimentError(
            f"An assignment needs a salt and a key that are texts with at least one character, "
            f"not {salt!r} and {key!r}.",
            hint="The key is what shall always get the same arm, such as the id of a user.",
        )
    try:
        return hashlib.sha256(f"{salt}:{key}".encode()).digest()
    except UnicodeEncodeError as exc:
        raise ExperimentError(
            f"The key {key!r} cannot be written in UTF-8.", hint="It holds half of a character."
        ) from exc


def bucket_of(digested: bytes) -> int:
    """The bucket, 0..99999: the first 32 bits as a fraction of 2^32, times 100,000."""
    return (int.from_bytes(digested[:4], "big") * BUCKETS) >> 32


def unit_of(digested: bytes) -> str:
    """The pseudonym under which a key is logged: the first 16 hexadecimal digits."""
    return digested.hex()[:_UNIT_CHARACTERS]


def bucket(salt: str, key: str) -> int:
    """The bucket of a key, 0..99999, the same in every process and language.

    Raises:
        ExperimentError: the salt or the key is empty or cannot be written in UTF-8.
    """
    return bucket_of(digest(salt, key))


def buckets_below(percent: float) -> int:
    """How many of the 100,000 buckets a percentage takes, the first ones.

    Raises:
        ExperimentError: it is not within 0..100.
    """
    number = isinstance(percent, int | float) and not isinstance(percent, bool)
    if not number or not 0 <= percent <= 100:  # noqa: PLR2004 - NaN is refused, too
        raise ExperimentError(f"{percent!r} is no percentage.", hint="Give 0 to 100.")
    return round(percent * 1000)


def is_challenger(salt: str, key: str, percent: float) -> bool:
    """Whether a key belongs to the challenger that gets `percent` of the keys.

    Raises:
        ExperimentError: salt or key are as `bucket` refuses, or `percent` is not within 0..100.
    """
    return bucket(salt, key) < buckets_below(percent)
