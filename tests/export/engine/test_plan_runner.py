"""Plans cannot be asked without a GPU; everything up to that can be tried."""

import inspect
import subprocess
import sys
from pathlib import Path

import numpy as np
import onnx
import pytest

from clickclean_export.dataset import Feed
from clickclean_export.engine.compiler import compile_plan, library_version
from clickclean_export.engine.options import BuildOptions, Range
from clickclean_export.engine.plan_runner import PlanRunner, fitting_profile
from clickclean_export.errors import ConversionError, IncompatibleError
from tests.conftest import WITHOUT_GPU
from tests.models.onnx_files import conv_block

ONE, MANY = (
    {"x": Range((1, 3, 8, 8), (1, 3, 8, 8), (1, 3, 8, 8))},
    {"x": Range((2, 3, 8, 8), (8, 3, 8, 8), (32, 3, 8, 8))},
)
OPEN = """
import sys
from pathlib import Path
from clickclean_export.engine.plan_runner import open_plan
from clickclean_export.errors import ExportError

try:
    with open_plan(Path(sys.argv[1]), (), flavour=sys.argv[2]):
        pass
except ExportError as error:
    print(error.exit_code, error, "|", error.hint, file=sys.stderr)
"""


def open_in_a_process(path: Path, flavour: str) -> tuple[str, str]:
    """Stdout and stderr: Polygraphy settles on a library when it is imported."""
    done = subprocess.run(
        [sys.executable, "-c", OPEN, str(path), flavour],
        capture_output=True,
        check=True,
        text=True,
    )
    return done.stdout, done.stderr


@pytest.fixture(scope="module")
def plan(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("plan")
    onnx.save(conv_block(), folder / "model.onnx")
    target = folder / "model.plan"
    options = BuildOptions()
    compile_plan(
        folder / "model.onnx", target, flavour="tensorrt_rtx", profiles=[MANY], options=options
    )
    return target


@WITHOUT_GPU
def test_a_sound_plan_still_needs_a_gpu(plan: Path) -> None:
    out, err = open_in_a_process(plan, "tensorrt_rtx")
    assert err.startswith("4 model.plan does not load here: ")
    assert "CUDA driver" in err
    assert out == "", "stdout is for data"


@pytest.mark.parametrize("content", [b"hello", b"", None])
def test_a_file_that_is_no_plan_is_named(content: bytes | None, plan: Path, tmp_path: Path) -> None:
    path = tmp_path / "broken.plan"
    path.write_bytes(plan.read_bytes()[:5000] if content is None else content)
    out, err = open_in_a_process(path, "tensorrt_rtx")
    assert err.startswith("4 broken.plan does not load here: ")
    if content != b"":
        assert "it is something else" in err
    assert out == ""


def test_tensorrt_without_its_libraries_is_said(plan: Path) -> None:
    """The bindings are installed for the tests, TensorRT itself is not."""
    out, err = open_in_a_process(plan, "tensorrt")
    assert err.startswith("4 TensorRT cannot be loaded: libnv")
    assert "Triton image" in err
    assert out == ""
    with pytest.raises(IncompatibleError, match="TensorRT cannot be loaded"):
        library_version("tensorrt")


def test_polygraphy_has_what_is_used() -> None:
    from polygraphy.backend.trt import TrtRunner
    from polygraphy.logger import G_LOGGER

    assert "optimization_profile" in inspect.signature(TrtRunner.__init__).parameters
    assert list(inspect.signature(TrtRunner.set_profile).parameters) == ["self", "index"]
    assert "copy_outputs_to_host" in inspect.signature(TrtRunner.infer_impl).parameters
    assert not G_LOGGER.use_python_logging_system


class Fake:
    """Stands for Polygraphy's runner: remembers the profile, gives its buffer away."""

    def __init__(self) -> None:
        self.profiles: list[int] = []
        self.buffer = np.zeros(2, np.float32)

    def set_profile(self, index: int) -> None:
        self.profiles.append(index)

    def infer(self, _: dict[str, object], *, copy_outputs_to_host: bool) -> dict[str, object]:
        assert copy_outputs_to_host
        self.buffer += 1
        return {"y": self.buffer}


def rows(count: int) -> Feed:
    return {"x": np.zeros((count, 3, 8, 8), np.float32)}


def test_a_batch_runs_in_the_profile_that_takes_it() -> None:
    fake = Fake()
    runner = PlanRunner(fake, [ONE, MANY])
    first = runner.infer(rows(1))
    runner.infer(rows(32))
    runner.infer(rows(8))
    runner.infer(rows(1))
    assert fake.profiles == [1, 0]
    assert first["y"].tolist() == [1, 1], "an answer does not change with the next one"


@pytest.mark.parametrize("count", [0, 33])
def test_a_batch_outside_all_profiles_is_refused(count: int) -> None:
    with pytest.raises(ConversionError, match=rf"no optimization profile takes x \[{count}, 3"):
        fitting_profile([ONE, MANY], rows(count))
