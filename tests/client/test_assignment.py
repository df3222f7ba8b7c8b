"""Who is sent to the challenger, in every language."""

import math
import re
import shutil
import subprocess
from pathlib import Path

import numpy as np
import pytest

from clickclean_client import ExperimentError
from clickclean_client.experiments.assignment import (
    bucket,
    buckets_below,
    digest,
    is_challenger,
    unit_of,
)

PAGE = Path(__file__).resolve().parents[2] / "docs" / "experiments.md"
KEYS = 1_000_000


def vectors() -> list[tuple[str, str, int, str]]:
    """Salt, key, bucket and unit of each line of the page's table; `A` x 300 is repeated."""
    rows = re.findall(
        r"^\| `(.+?)` \| `(.+?)`(?: × (\d+))? \| (\d+) \| `([0-9a-f]{16})` \|$",
        PAGE.read_text(encoding="utf-8"),
        re.MULTILINE,
    )
    return [(salt, key * int(n or 1), int(number), unit) for salt, key, n, number, unit in rows]


def test_the_vectors_of_the_page() -> None:
    found = vectors()
    assert len(found) >= 12
    assert any(not key.isascii() for _, key, _, _ in found)
    assert any(len(key) > 200 for _, key, _, _ in found)
    for salt, key, number, unit in found:
        assert (bucket(salt, key), unit_of(digest(salt, key))) == (number, unit)


@pytest.mark.skipif(shutil.which("node") is None, reason="node is not installed")
def test_the_javascript_of_the_page() -> None:
    source = re.search(r"```javascript\n(.*?)```", PAGE.read_text(encoding="utf-8"), re.DOTALL)
    assert source is not None
    calls = "\n".join(
        f"console.log(bucket({_quoted(salt)}, {_quoted(key)}));" for salt, key, _, _ in vectors()
    )
    done = subprocess.run(
        ["node", "-e", source[1] + calls],  # noqa: S607 - the test needs whichever is installed
        capture_output=True,
        text=True,
        check=True,
        timeout=60,
    )
    assert [int(line) for line in done.stdout.split()] == [row[2] for row in vectors()]


def test_a_million_keys_are_split_as_asked_and_ramping_moves_nobody_out() -> None:
    # By chance alone half of a million is off by 0.05 points (one standard deviation), with any
    # hash; that of this salt is not far off.
    salt = "digits-3-20261123T201500"
    buckets = np.fromiter((bucket(salt, f"user-{number}") for number in range(KEYS)), np.int64)
    assert buckets.min() >= 0
    assert buckets.max() < 100_000
    before = np.zeros(KEYS, np.bool_)
    for percent in (1.0, 5.0, 10.0, 12.5, 50.0):
        arm = buckets < buckets_below(percent)
        assert abs(arm.mean() - percent / 100) < 0.001
        assert not (before & ~arm).any()
        before = arm


def test_over_many_salts_the_share_is_as_random_as_a_coin() -> None:
    count = 2000
    scores = []
    for salt in range(40):
        arm = sum(is_challenger(f"salt-{salt}", f"user-{n}", 50) for n in range(count))
        scores.append((arm - count / 2) / math.sqrt(count / 4))
    # The sum of 40 squares of a standard normal: chi-square, outside of this once in 10,000.
    assert 12 < sum(score**2 for score in scores) < 85
    assert abs(sum(scores)) / math.sqrt(40) < 4


def test_the_ends_of_the_range() -> None:
    keys = [str(number) for number in range(1000)]
    assert not any(is_challenger("s", key, 0) for key in keys)
    assert all(is_challenger("s", key, 100.0) for key in keys)


def test_salts_are_independent() -> None:
    keys = [str(number) for number in range(20_000)]
    one = {key for key in keys if is_challenger("a", key, 50)}
    two = {key for key in keys if is_challenger("b", key, 50)}
    assert 0.48 < len(one & two) / len(one) < 0.52


@pytest.mark.parametrize(("salt", "key"), [("", "k"), ("s", ""), ("s", "\ud800"), ("s", None)])
def test_what_is_no_salt_or_key(salt: str, key: str) -> None:
    with pytest.raises(ExperimentError) as caught:
        bucket(salt, key)
    assert caught.value.exit_code == 2
    assert caught.value.hint


@pytest.mark.parametrize("percent", [-1, 100.001, float("nan"), True, "10"])
def test_what_is_no_percentage(percent: float) -> None:
    with pytest.raises(ExperimentError, match="no percentage"):
        is_challenger("s", "k", percent)


def _quoted(text: str) -> str:
    return '"' + text.replace("\\", "\\\\").replace('"', '\\"') + '"'
