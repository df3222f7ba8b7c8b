import pytest

from clickclean_client.protocol import model_config_pb2, parse_model_config
from clickclean_export.recipe import load_recipe
from clickclean_export.triton_config import Fleet, TritonConfig
from tests.conftest import ROOT
from tests.export.conftest import Write


@pytest.mark.parametrize("fleet", ["cpu", "gpu"])
@pytest.mark.parametrize("recipe", ["examples/digits", "tests/models/strokes"])
def test_what_is_written_reads_back(fleet: Fleet, recipe: str) -> None:
    config = TritonConfig.from_recipe(load_recipe(ROOT / recipe / "recipe.toml"), fleet, (3, 5))
    assert TritonConfig.from_text(config.to_text(), fleet) == config


def test_the_cpu_fleet() -> None:
    recipe = load_recipe(ROOT / "examples/digits/recipe.toml")
    config = parse_model_config(TritonConfig.from_recipe(recipe, "cpu", (2,)).to_text())
    assert (config.backend, config.platform) == ("openvino", "")
    assert config.default_model_filename == "model.onnx"
    assert list(config.version_policy.specific.versions) == [2]
    assert config.instance_group[0].kind == model_config_pb2.ModelInstanceGroup.KIND_CPU
    assert config.parameters["INFERENCE_NUM_THREADS"].string_value == "2"


def test_the_gpu_fleet_takes_plans_by_compute_capability() -> None:
    recipe = load_recipe(ROOT / "examples/digits/recipe.toml")
    config = parse_model_config(TritonConfig.from_recipe(recipe, "gpu", (2,)).to_text())
    assert (config.platform, config.backend) == ("tensorrt_plan", "")
    assert config.default_model_filename == "model.plan"
    assert config.instance_group[0].kind == model_config_pb2.ModelInstanceGroup.KIND_GPU
    assert not config.parameters


def test_serving_choices_arrive_with_their_units(write: Write) -> None:
    serving = (
        "max_batch = 8\nqueue_delay_us = 250\nqueue_size = 9\nqueue_timeout_ms = 40\n"
        "instances = 3\nwarmup = false"
    )
    recipe = load_recipe(write({"max_batch = 32": serving}))
    for fleet in ("cpu", "gpu"):
        config = parse_model_config(TritonConfig.from_recipe(recipe, fleet, (1,)).to_text())
        assert config.max_batch_size == 8
        assert config.dynamic_batching.max_queue_delay_microseconds == 250
        assert config.instance_group[0].count == 3
        assert not config.model_warmup
    policy = config.dynamic_batching.default_queue_policy
    assert policy.default_timeout_microseconds == 40_000
    assert policy.timeout_action == model_config_pb2.ModelQueuePolicy.REJECT
    assert policy.max_queue_size == 9
    assert policy.allow_timeout_override


def test_the_cpu_fleet_has_no_queue_policy_at_all() -> None:
    """Even an empty timeout with the override makes that server's batcher lose wake-ups."""
    recipe = load_recipe(ROOT / "examples/digits/recipe.toml")
    assert recipe.serving.queue_timeout_ms > 0
    config = parse_model_config(TritonConfig.from_recipe(recipe, "cpu", (1,)).to_text())
    assert config.HasField("dynamic_batching")
    assert not config.dynamic_batching.HasField("default_queue_policy")


def test_a_load_is_proven_with_one_row_and_with_a_full_batch() -> None:
    recipe = load_recipe(ROOT / "tests/models/strokes/recipe.toml")
    config = parse_model_config(TritonConfig.from_recipe(recipe, "cpu", (1,)).to_text())
    assert [sample.batch_size for sample in config.model_warmup] == [1, 20]
    tokens = config.model_warmup[1].inputs["tokens"]
    assert list(tokens.dims) == [24], "a free axis is warmed up at its usual size"
    assert list(config.input[0].dims) == [-1]
    assert tokens.zero_data


def test_a_text_that_is_no_config_is_refused() -> None:

    from clickclean_client import ModelConfigError

    with pytest.raises(ModelConfigError):
        TritonConfig.from_text("max_batch_size: many", "cpu")
