"""Failures that were measured (`bench/failures.py`), against the client's map of errors."""

import tomllib
from pathlib import Path
from typing import Any

import pytest

import clickclean_client as cc
from clickclean_client._errors import error_from_status
from clickclean_client._exceptions import Call
from clickclean_client.protocol import grpc

TABLE = tomllib.loads(
    Path(__file__).with_name("measured_failures.toml").read_text(encoding="utf-8")
)
FAILURES: list[dict[str, Any]] = [
    row for row in TABLE["failure"] if row["code"] in grpc.StatusCode.__members__ and row["raises"]
]


def test_the_table_has_the_failures_that_matter() -> None:
    assert {row["code"] for row in FAILURES} >= {
        *("CANCELLED", "DEADLINE_EXCEEDED", "INTERNAL", "INVALID_ARGUMENT", "NOT_FOUND"),
        *("RESOURCE_EXHAUSTED", "UNAVAILABLE", "UNIMPLEMENTED", "UNKNOWN"),
    }


@pytest.mark.parametrize("row", FAILURES, ids=[row["case"] for row in FAILURES])
def test_each_measured_failure_has_its_class(row: dict[str, Any]) -> None:
    call = Call("host:8001", "m", code=row["code"], message=row["text"])
    error = error_from_status(grpc.StatusCode[row["code"]], call)
    assert type(error) is getattr(cc, row["raises"])


@pytest.mark.parametrize("row", FAILURES, ids=[row["case"] for row in FAILURES])
def test_the_part_that_tells_is_in_the_text(row: dict[str, Any]) -> None:
    assert row["part"] in row["text"]
    # What was seen to reach the model is never said to be safe to repeat.
    assert (row["computed"], row["reached"]) != ("no", "true")
