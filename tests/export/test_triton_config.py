from dataclasses import replace
from itertools import pairwise

import pytest

from clickclean_client.axes import NamedAxes
from clickclean_client.protocol import model_config_pb2, parse_model_config
from clickclean_client.slots import AXES
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
    assert set(config.parameters) == {AXES}


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


@pytest.mark.parametrize("fleet", ["cpu", "gpu"])
def test_names_and_ranges_of_axes_travel_with_the_config(fleet: Fleet) -> None:
    recipe = load_recipe(ROOT / "tests/models/strokes/recipe.toml")
    config = TritonConfig.from_recipe(recipe, fleet, (1,))
    text = parse_model_config(config.to_text()).parameters[AXES].string_value
    assert NamedAxes.from_json(text) == NamedAxes(
        {
            "tokens": ("batch", "length"),
            "numbers": ("batch", 4),
            "scores": ("batch", 10),
            "features": ("batch", 256),
        },
        {"length": (1, 64)},
    )
    # Also under the name of a slot, and with a split.
    slot = replace(config, model="strokes.challenger", split="{}")
    assert parse_model_config(slot.to_text()).parameters[AXES].string_value == text


def test_a_model_whose_batch_alone_is_free_says_so(write: Write) -> None:
    text = TritonConfig.from_recipe(load_recipe(write({})), "cpu", (1,)).axes
    assert NamedAxes.from_json(text).tensors["image"] == ("batch", 1, 8, 8)
    assert NamedAxes.from_json(text).ranges == {}


def test_a_range_that_a_recipe_gives_the_batch_is_not_told(write: Write) -> None:
    batch = "[axes.batch]\nopt = 4\nmax = 8\n[serving]"
    recipe = load_recipe(write({"[serving]": batch}))
    assert NamedAxes.from_json(TritonConfig.from_recipe(recipe, "cpu", (1,)).axes).ranges == {}


@pytest.mark.parametrize("fleet", ["cpu", "gpu"])
def test_a_config_of_before_that_says_nothing_of_axes_is_read(fleet: Fleet) -> None:
    recipe = load_recipe(ROOT / "examples/digits/recipe.toml")
    config = replace(TritonConfig.from_recipe(recipe, fleet, (1,)), axes="")
    assert AXES not in config.to_text()
    assert TritonConfig.from_text(config.to_text(), fleet) == config


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


def test_cuda_graphs_cover_every_batch() -> None:
    """Each batch from 1 to the largest lies within the bounds of exactly one graph."""
    recipe = load_recipe(ROOT / "examples/digits/recipe.toml")
    config = parse_model_config(TritonConfig.from_recipe(recipe, "gpu", (1,)).to_text())
    assert config.optimization.cuda.graphs
    bounds = [
        (spec.graph_lower_bound.batch_size, spec.batch_size)
        for spec in config.optimization.cuda.graph_spec
    ]
    for batch in range(1, config.max_batch_size + 1):
        assert len([1 for low, high in bounds if low <= batch <= high]) == 1
    for spec in config.optimization.cuda.graph_spec:
        # Without shapes Triton compares the lower bound with the full batch: it never holds.
        assert list(spec.input["image"].dim) == [1, 8, 8]
        assert list(spec.graph_lower_bound.input["image"].dim) == [1, 8, 8]


@pytest.mark.parametrize("largest", [1, 2, 3, 7, 8, 9, 1024])
def test_graphs_end_at_the_largest_batch(largest: int, write: Write) -> None:
    recipe = load_recipe(write({"max_batch = 32": f"max_batch = {largest}"}))
    batches = TritonConfig.from_recipe(recipe, "gpu", (1,)).cuda_graph_batches
    assert batches[-1] == largest
    assert list(batches) == sorted(set(batches))
    assert all(large <= 2 * small for small, large in pairwise(batches))


def test_a_model_with_another_free_axis_gets_no_graphs() -> None:
    recipe = load_recipe(ROOT / "tests/models/strokes/recipe.toml")
    text = TritonConfig.from_recipe(recipe, "gpu", (1,)).to_text()
    assert "graph" not in text


def test_graphs_and_profiles_are_the_recipes_choice(write: Write) -> None:
    engine = (
        "[engine]\ncuda_graphs = false\n"
        "[[engine.profiles]]\nbatch = {min = 1, opt = 1, max = 1}\n"
        "[[engine.profiles]]\nbatch = {min = 2, opt = 32, max = 32}\n[serving]"
    )
    config = TritonConfig.from_recipe(load_recipe(write({"[serving]": engine})), "gpu", (1,))
    assert config.cuda_graph_batches == ()
    proto = parse_model_config(config.to_text())
    assert list(proto.instance_group[0].profile) == ["0", "1"]
    assert not proto.optimization.HasField("cuda")
    cpu = TritonConfig.from_recipe(load_recipe(write({"[serving]": engine})), "cpu", (1,))
    assert not parse_model_config(cpu.to_text()).instance_group[0].profile


def test_plans_of_several_gpu_types_read_back() -> None:
    recipe = load_recipe(ROOT / "examples/digits/recipe.toml")
    plans = {"7.5": "engines/7.5-a/model.7.5.plan", "8.9": "engines/8.9-b/model.8.9.plan"}
    config = replace(
        TritonConfig.from_recipe(recipe, "gpu", (2,)), plans=plans, default_plan=plans["8.9"]
    )
    assert TritonConfig.from_text(config.to_text(), "gpu") == config
    proto = parse_model_config(config.to_text())
    assert dict(proto.cc_model_filenames) == plans
    assert proto.default_model_filename == plans["8.9"]
