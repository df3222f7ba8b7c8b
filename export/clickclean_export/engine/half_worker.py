"""The process in which ModelOpt's AutoCast makes the FP16 model that INT8 is compared with."""

from clickclean_export.worker_process import Message, work


def cast(job: Message, _: object) -> Message:
    """Write the FP16 form of a float ONNX file.

    Operators whose values would leave FP16's range on the given rows stay in FP32.

    Args:
        job: "source", "target", and "feeds", an ``.npz`` with one array per input.
    """
    import onnx
    from modelopt.onnx.autocast import convert_to_mixed_precision

    model = convert_to_mixed_precision(
        job["source"],
        low_precision_type="fp16",
        # Callers send what they send to the INT8 model.
        keep_io_types=True,
        # Without, it would look at random values.
        calibration_data=job["feeds"],
        providers=["cpu"],
    )
    onnx.save(model, job["target"])
    return {}


if __name__ == "__main__":
    work(cast)
