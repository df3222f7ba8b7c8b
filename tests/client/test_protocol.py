import numpy as np
import pytest

from clickclean_client import ModelConfigError
from clickclean_client.protocol import (
    CONFIG_DTYPES,
    NUMPY_DTYPES,
    config_dtype,
    format_model_config,
    model_config_pb2,
    numpy_dtype,
    parse_model_config,
    triton_dtype,
)


def test_the_tables_know_every_dtype_of_the_protocol() -> None:
    known = set(model_config_pb2.DataType.values()) - {model_config_pb2.DataType.TYPE_INVALID}
    assert set(CONFIG_DTYPES.values()) == known
    assert set(CONFIG_DTYPES) == set(NUMPY_DTYPES)


@pytest.mark.parametrize("name", sorted(set(NUMPY_DTYPES) - {"BF16"}))
def test_names_and_numpy_dtypes_match_both_ways(name: str) -> None:
    assert triton_dtype(numpy_dtype(name)) == name
    assert config_dtype(numpy_dtype(name)) == CONFIG_DTYPES[name]


def test_strings_are_bytes_and_bf16_is_its_bits() -> None:
    assert triton_dtype("S5") == triton_dtype("U5") == "BYTES"
    assert config_dtype(object) == model_config_pb2.DataType.TYPE_STRING
    assert numpy_dtype("BF16") == np.uint16
    assert triton_dtype(np.uint16) == "UINT16"


@pytest.mark.parametrize("dtype", [np.complex64, "datetime64[s]"])
def test_dtypes_that_triton_does_not_have(dtype: object) -> None:
    with pytest.raises(KeyError):
        triton_dtype(dtype)


def test_a_configuration_is_read_back() -> None:
    config = model_config_pb2.ModelConfig(name="m", backend="openvino", max_batch_size=8)
    config.input.add(name="x", data_type=CONFIG_DTYPES["FP32"], dims=[3, -1])
    config.parameters["NUM_STREAMS"].string_value = "1"
    config.version_policy.specific.versions.append(3)
    assert parse_model_config(format_model_config(config)) == config


@pytest.mark.parametrize("text", ["max_batch: 3", "name: ", "input [", 'max_batch_size: "x"'])
def test_a_text_that_is_no_configuration(text: str) -> None:
    with pytest.raises(ModelConfigError, match="no Triton model configuration: ") as caught:
        parse_model_config(text)
    assert caught.value.exit_code == 2
    assert caught.value.hint
