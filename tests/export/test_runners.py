import subprocess
import sys
import textwrap
from types import SimpleNamespace

import numpy as np
import pytest

from clickclean_export.errors import ConversionError
from clickclean_export.onnx_from_torch import export_onnx
from clickclean_export.runners import OnnxRuntimeRunner, OpenVinoRunner
from tests.conftest import PublishedModels


def test_every_form_of_a_version_gives_about_the_same_answers(published: PublishedModels) -> None:
    folder = published.repository / "digits" / "1"
    with np.load(folder / "golden.npz") as golden:
        feed = {"image": golden["input.image"][:32]}
        wanted, tolerance = golden["output.logits"][:32], float(golden["tolerance.logits"])
    engine = OpenVinoRunner(folder / "model.onnx").infer(feed)["logits"]
    np.testing.assert_allclose(engine, wanted, atol=tolerance)
    for name in ("model.onnx", "fp32.onnx"):
        answers = OnnxRuntimeRunner(folder / name).infer(feed)["logits"]
        np.testing.assert_allclose(answers, wanted, atol=4 * tolerance)
        assert (answers.argmax(axis=1) == wanted.argmax(axis=1)).mean() > 0.9


def test_a_file_that_no_engine_reads(tiny: SimpleNamespace) -> None:
    path = tiny.recipe.directory / "broken.onnx"
    path.write_bytes(b"not onnx")
    for runner in (OnnxRuntimeRunner, OpenVinoRunner):
        with pytest.raises(ConversionError, match=r"broken\.onnx"):
            runner(path)


SCRIPT = """
    import signal, sys
    from pathlib import Path
    from clickclean_export.runners import OpenVinoRunner

    first = OpenVinoRunner(Path(sys.argv[1]))
    second = OpenVinoRunner(Path(sys.argv[1]))
    del first
    del second
    try:
        signal.raise_signal(signal.SIGINT)
    except KeyboardInterrupt:
        print("interrupted")
"""


def test_ctrl_c_after_two_engines_is_no_segmentation_fault(tiny: SimpleNamespace) -> None:
    """Only a CPU with AMX can fail here; see ``signal_stack``."""
    path = tiny.recipe.directory / "fp32.onnx"
    export_onnx(tiny.recipe, tiny.module, tiny.evaluation.feeds[0], path)
    done = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(SCRIPT), str(path)],
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
    )
    assert (done.returncode, done.stdout) == (0, "interrupted\n"), done.stderr
