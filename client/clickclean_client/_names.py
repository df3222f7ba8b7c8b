"""Model names and versions, before they go on the wire."""

from __future__ import annotations

from clickclean_client._exceptions import Call, InvalidRequest


def checked_model(model: str, call: Call) -> str:
    """The name itself; InvalidRequest if it is empty or no str."""
    if not isinstance(model, str) or not model:
        raise InvalidRequest(
            call, f"{model!r} is no model name", hint="Give the name of the model's folder."
        )
    return model


def checked_version(version: str | int | None, call: Call) -> str:
    """The version as it travels; None and "" both mean the promoted one and give "".

    Triton reads "1abc" as version 1, so anything but a plain positive number is refused here.
    """
    if version is None or version == "":
        return ""
    text = str(version)
    if isinstance(version, bool) or not text.isascii() or not text.isdigit() or text[0] == "0":
        raise InvalidRequest(
            call,
            f"{version!r} is no model version",
            hint="Versions are whole numbers from 1; leave it out for the promoted one.",
        )
    return text
