import json
from collections.abc import Iterator
from typing import Any

import pytest

from clickclean_client import (
    AccessRefused,
    Admin,
    DeadlineExceeded,
    Duration,
    InvalidRequest,
    ModelNotFound,
    ModelState,
    ModelStatistics,
    ServerFault,
    Unavailable,
)
from clickclean_client.protocol import grpc
from tests.client.fake_server import FakeTriton


@pytest.fixture
def admin(fake: FakeTriton) -> Iterator[Admin]:
    with Admin(fake.endpoint, key="s3cret") as opened:
        yield opened


def test_the_key_travels_and_is_not_shown(fake: FakeTriton, admin: Admin) -> None:
    admin.index()
    assert fake.headers["triton-grpc-protocol-admin-key"] == "s3cret"
    assert repr(admin) == f"Admin('{fake.endpoint}')"
    with Admin(fake.endpoint) as keyless:
        keyless.index()
    assert "triton-grpc-protocol-admin-key" not in fake.headers


def test_load_and_unload(fake: FakeTriton, admin: Admin) -> None:
    admin.load("m")
    assert fake.calls["load m"] == 1
    assert "config" not in fake.headers
    config = json.dumps({"max_batch_size": 3})
    admin.load("m", config_json=config)
    assert fake.headers["config"] == config
    admin.unload("m")
    assert fake.calls["unload m"] == 1


def test_index(admin: Admin) -> None:
    assert admin.index() == [
        ModelState("m", "1", "READY", ""),
        ModelState("old", "2", "UNAVAILABLE", "unloaded"),
    ]


def test_statistics(admin: Admin) -> None:
    wanted = ModelStatistics(
        name="m",
        version="1",
        inference_count=8,
        execution_count=2,
        success=Duration(0, 0),
        fail=Duration(1, 100),
        queue=Duration(2, 200),
        compute_input=Duration(3, 300),
        compute_infer=Duration(4, 400),
        compute_output=Duration(5, 500),
    )
    assert admin.statistics("m") == [wanted]
    assert admin.statistics("m", 2)[0].version == "2"


def test_config(fake: FakeTriton, admin: Admin) -> None:
    fake.serve(version="2", max_batch=3, parameters={"CLICKCLEAN_FINGERPRINT": "ab12"})
    config = admin.config("m", 2)
    assert config.max_batch_size == 3
    assert config.parameters["CLICKCLEAN_FINGERPRINT"].string_value == "ab12"
    with pytest.raises(ModelNotFound):
        admin.config("m", version="3")


def test_failures_are_mapped_like_the_clients(fake: FakeTriton, admin: Admin) -> None:
    fake.fail("RepositoryModelLoad", grpc.StatusCode.INTERNAL, "failed to load 'm'")
    with pytest.raises(ServerFault, match="failed to load 'm'") as fault:
        admin.load("m")
    assert (fault.value.model, fault.value.endpoint) == ("m", fake.endpoint)
    fake.fail("RepositoryIndex", grpc.StatusCode.UNAVAILABLE, "This protocol is restricted, ...")
    with pytest.raises(AccessRefused, match=r"^The server at 127\.0\.0\.1:"):
        admin.index()
    fake.stop()
    with pytest.raises(Unavailable):
        admin.unload("m")


@pytest.mark.parametrize("model", ["", 3])
def test_model_names_are_checked(model: Any, fake: FakeTriton, admin: Admin) -> None:
    with pytest.raises(InvalidRequest, match="no model name"):
        admin.load(model)
    assert not fake.calls


def test_a_deadline_on_every_call(fake: FakeTriton, admin: Admin) -> None:
    with pytest.raises(DeadlineExceeded):
        admin.load("m", timeout_s=1e-9)
    with pytest.raises(InvalidRequest, match="timeout_s"):
        Admin(fake.endpoint, timeout_s=0)
