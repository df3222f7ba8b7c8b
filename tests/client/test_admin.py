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
from clickclean_client.protocol import grpc, service_pb2
from clickclean_client.testing import FakeServer
from tests.client.challengers import INPUTS


@pytest.fixture
def admin(fake: FakeServer) -> Iterator[Admin]:
    with Admin(fake.endpoint, key="s3cret") as opened:
        yield opened


def test_the_key_travels_and_is_not_shown(fake: FakeServer, admin: Admin) -> None:
    admin.index()
    assert fake.headers["triton-grpc-protocol-admin-key"] == "s3cret"
    assert repr(admin) == f"Admin('{fake.endpoint}')"
    with Admin(fake.endpoint) as keyless:
        keyless.index()
    assert "triton-grpc-protocol-admin-key" not in fake.headers


def test_load_and_unload(fake: FakeServer, admin: Admin) -> None:
    admin.load("m")
    assert fake.asked["RepositoryModelLoad", "m", ""] == 1
    assert "config" not in fake.last_request["RepositoryModelLoad"].parameters
    config = json.dumps({"max_batch_size": 3})
    admin.load("m", config_json=config)
    loaded = fake.last_request["RepositoryModelLoad"]
    assert loaded.parameters["config"].string_param == config
    admin.unload("m")
    assert fake.asked["RepositoryModelUnload", "m", ""] == 1


def test_index(fake: FakeServer, admin: Admin) -> None:
    fake.serve("old", inputs=INPUTS, version=2)
    fake.unload("old")
    assert admin.index() == [
        ModelState("m", "1", "READY", ""),
        ModelState("old", "2", "UNAVAILABLE", "unloaded"),
    ]


def counters(request: Any) -> Any:
    response = service_pb2.ModelStatisticsResponse()
    item = response.model_stats.add(
        name=request.name, version=request.version or "1", inference_count=8, execution_count=2
    )
    for index, part in enumerate(
        ("success", "fail", "queue", "compute_input", "compute_infer", "compute_output")
    ):
        getattr(item.inference_stats, part).count = index
        getattr(item.inference_stats, part).ns = 100 * index
    return response


def test_statistics(fake: FakeServer, admin: Admin) -> None:
    fake.answer("ModelStatistics", counters)
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


def test_config(fake: FakeServer, admin: Admin) -> None:
    fake.serve(
        "m", inputs=INPUTS, version="2", max_batch=3, parameters={"CLICKCLEAN_FINGERPRINT": "ab12"}
    )
    config = admin.config("m", 2)
    assert config.max_batch_size == 3
    assert config.parameters["CLICKCLEAN_FINGERPRINT"].string_value == "ab12"
    with pytest.raises(ModelNotFound):
        admin.config("m", version="3")


def test_failures_are_mapped_like_the_clients(fake: FakeServer, admin: Admin) -> None:
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
def test_model_names_are_checked(model: Any, fake: FakeServer, admin: Admin) -> None:
    with pytest.raises(InvalidRequest, match="no model name"):
        admin.load(model)
    assert not fake.calls


def test_a_deadline_on_every_call(fake: FakeServer, admin: Admin) -> None:
    with pytest.raises(DeadlineExceeded):
        admin.load("m", timeout_s=1e-9)
    with pytest.raises(InvalidRequest, match="timeout_s"):
        Admin(fake.endpoint, timeout_s=0)
