"""What a call asks for beside its inputs: which outputs, in which form, how urgently."""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from clickclean_client._exceptions import Call, InvalidRequest
from clickclean_client._types import ModelMetadata, TensorSpec
from clickclean_client._wire import Parameter
from clickclean_client.protocol import service_pb2

if TYPE_CHECKING:
    from clickclean_client._places import CallMemory

# https://github.com/triton-inference-server/server/blob/main/docs/protocol/extension_parameters.md
_RESERVED: Final = frozenset({"priority", "timeout", "headers", "binary_data_output"})
_RESERVED_PREFIX: Final = "triton_"
_OF_SEQUENCES: Final[dict[str, tuple[type, ...]]] = {
    "sequence_id": (int, str),
    "sequence_start": (bool,),
    "sequence_end": (bool,),
}
# What Triton can sort: the switch in `TopkClassifications` of its src/classification.cc.
_CLASSIFIABLE: Final = frozenset(
    ("FP32", "FP64", *(f"{sign}INT{bits}" for sign in ("", "U") for bits in (8, 16, 32, 64)))
)
# The server reads the number of classes into 32 bits.
_MOST_CLASSES: Final = 2**31 - 1


@dataclass(frozen=True, slots=True)
class InferOptions:
    """The options of a call, as `checked` makes them; without any, all outputs as they are.

    `outputs` are the names asked for, () for all. `classify` are names of outputs, and how many
    of the largest elements of each are wanted in place of the output. `parameters` are those of
    the caller. `wire` is a serialised ModelInferRequest with nothing but the parameters and the
    priority. `memory` is the shared memory that inputs and outputs may lie in.
    """

    outputs: tuple[str, ...] = ()
    classify: tuple[tuple[str, int], ...] = ()
    priority: int = 0
    # Left out of the comparison because 1 == True == 1.0, which `wire` tells apart.
    parameters: tuple[tuple[str, Parameter], ...] = field(default=(), compare=False)
    wire: bytes = field(default=b"", repr=False)
    memory: CallMemory | None = field(default=None, compare=False, repr=False)

    @classmethod
    def checked(
        cls,
        call: Call,
        *,
        outputs: Iterable[str] | None = None,
        classify: Mapping[str, int] | None = None,
        priority: int | None = None,
        parameters: Mapping[str, Parameter] | None = None,
    ) -> InferOptions:
        """The options in a caller's words; whether the names exist is checked by `asked`.

        `outputs`: only these are computed and sent, where the server can; None asks for all.
        `classify`: output -> k asks for the k largest elements of each row, with their index and
        the model's label (Triton's classification extension); the other outputs stay as they
        are. `priority`: 1 is the most urgent, 0 and None the model's default (`priority_levels`
        of its dynamic batching). `parameters` go to the model, which has to know them:
        str, int (64 bits), bool or float. `sequence_id`, `sequence_start` and `sequence_end`
        are those of Triton's sequences.

        Raises:
            InvalidRequest: anything else.
        """
        if outputs is None and classify is None and priority is None and parameters is None:
            return PLAIN
        names = () if outputs is None else _checked_outputs(outputs, call)
        classes = _checked_classes({} if classify is None else classify, names, call)
        level = 0 if priority is None else _checked_priority(priority, call)
        values = _checked_parameters({} if parameters is None else parameters, call)

        request = service_pb2.ModelInferRequest()
        for key, value in values:
            _set_parameter(request.parameters[key], value)
        if level:
            request.parameters["priority"].uint64_param = level
        wire: bytes = request.SerializeToString(deterministic=True)
        return cls(names, classes, level, values, wire)

    @property
    def stateful(self) -> bool:
        """Whether the call is part of a sequence: the server counts each one, so none is repeated.

        https://github.com/triton-inference-server/server/blob/main/docs/protocol/extension_sequence.md
        """
        return any(key == "sequence_id" for key, _ in self.parameters)

    def asked(self, metadata: ModelMetadata, call: Call) -> tuple[tuple[str, int], ...]:
        """The outputs to name in the request, and k for those to classify, 0 for the others.

        () where nothing has to be named, and the server answers all.

        Raises:
            InvalidRequest: the model has no such output, or one of a dtype that cannot be sorted.
        """
        if not self.outputs and not self.classify:
            return ()
        specs = {spec.name: spec for spec in metadata.outputs}
        classes = dict(self.classify)
        for name in (*self.outputs, *classes):
            if name not in specs:
                raise InvalidRequest(call, f"it has no output {name!r}", hint=_nearest(name, specs))
        for name in classes:
            _check_sortable(specs[name], call)
        return tuple((name, classes.get(name, 0)) for name in self.outputs or specs)


PLAIN: Final = InferOptions()
"""All outputs, as they are."""


def _checked_outputs(outputs: Any, call: Call) -> tuple[str, ...]:
    if isinstance(outputs, str) or not isinstance(outputs, Iterable):
        raise InvalidRequest(
            call,
            f"outputs must be a sequence of names, not {outputs!r}",
            hint=f"Write outputs=[{outputs!r}]." if isinstance(outputs, str) else "",
        )
    names = tuple(outputs)
    for name in names:
        if not isinstance(name, str) or not name:
            raise InvalidRequest(call, f"{name!r} in outputs is no name of an output")
        if names.count(name) > 1:
            raise InvalidRequest(
                call, f"outputs names {name!r} twice", hint="Name each output once."
            )
    if not names:
        raise InvalidRequest(
            call, "outputs names nothing", hint="Leave it out to get all of the model's outputs."
        )
    return names


def _checked_classes(
    classify: Any, outputs: tuple[str, ...], call: Call
) -> tuple[tuple[str, int], ...]:
    if not isinstance(classify, Mapping):
        raise InvalidRequest(
            call,
            f"classify must be a mapping of outputs to numbers of classes, not {classify!r}",
            hint='Write classify={"logits": 3} for the three largest elements of each row.',
        )
    found = tuple((name, _plain(count)) for name, count in classify.items())
    for name, count in found:
        if not isinstance(name, str) or not name:
            raise InvalidRequest(call, f"{name!r} in classify is no name of an output")
        if isinstance(count, bool) or not isinstance(count, int) or not 0 < count <= _MOST_CLASSES:
            raise InvalidRequest(
                call,
                f"classify asks for {count!r} classes of {name!r}",
                hint="The number of classes is a whole number from 1.",
            )
        if outputs and name not in outputs:
            raise InvalidRequest(
                call,
                f"classify names {name!r}, which outputs leaves out",
                hint=f"Add {name!r} to outputs, or leave outputs out to get all.",
            )
    return found


def _checked_priority(priority: Any, call: Call) -> int:
    level = _plain(priority)
    if isinstance(level, bool) or not isinstance(level, int) or not 0 <= level < 2**64:
        raise InvalidRequest(
            call,
            f"{priority!r} is no priority",
            hint="Priorities are whole numbers: 1 is the most urgent, 0 the model's default.",
        )
    return level


def _checked_parameters(parameters: Any, call: Call) -> tuple[tuple[str, Parameter], ...]:
    if not isinstance(parameters, Mapping):
        raise InvalidRequest(
            call,
            f"parameters must be a mapping of names to values, not {parameters!r}",
            hint='Write parameters={"name": value}.',
        )
    found = tuple((key, _plain(value)) for key, value in parameters.items())
    for key, value in found:
        _check_key(key, call)
        _check_value(key, value, call)
    return found


def _plain(value: Any) -> Any:
    """A scalar of numpy as Python's own."""
    return value.item() if isinstance(value, np.generic) else value


def _check_key(key: Any, call: Call) -> None:
    if not isinstance(key, str) or not key or not _fits_c_string(key):
        raise InvalidRequest(
            call,
            f"{key!r} is no name of a parameter",
            hint="A name is a text with at least one character, and none of them NUL.",
        )
    if key in _RESERVED or key.startswith(_RESERVED_PREFIX):
        hint = {
            "priority": "Give priority=... beside the parameters.",
            "timeout": "Give timeout_s=...; what is left of it is sent as the request's timeout.",
            "headers": "Headers are given when the client is made: Client(..., headers=...).",
        }.get(key, "Choose another name; the model would never see this one.")
        raise InvalidRequest(call, f"the parameter {key!r} is reserved by Triton", hint=hint)


def _check_value(key: str, value: Any, call: Call) -> None:
    wanted = _OF_SEQUENCES.get(key, (str, int, bool, float))
    # bool is an int for Python, but True is no sequence.
    fits = isinstance(value, wanted) and (bool in wanted or not isinstance(value, bool))
    if not fits:
        kinds = " or ".join(kind.__name__ for kind in wanted)
        raise InvalidRequest(
            call, f"the parameter {key!r} is {value!r}", hint=f"Its value must be {kinds}."
        )
    if isinstance(value, int) and not -(2**63) <= value < 2**63:
        raise InvalidRequest(
            call,
            f"the parameter {key!r} is {value!r}, which does not fit into 64 bits",
            hint="Send larger numbers as str.",
        )
    if isinstance(value, str) and not _fits_c_string(value):
        raise InvalidRequest(
            call,
            f"the parameter {key!r} is {value!r}, which would not arrive whole",
            hint="Triton hands texts on up to the first NUL; a text must also be valid Unicode.",
        )


def _set_parameter(parameter: Any, value: Parameter) -> None:
    if isinstance(value, bool):
        parameter.bool_param = value
    elif isinstance(value, int):
        parameter.int64_param = value
    elif isinstance(value, str):
        parameter.string_param = value
    else:
        parameter.double_param = value


def _fits_c_string(text: str) -> bool:
    try:
        return b"\0" not in text.encode()
    except UnicodeEncodeError:
        return False


def _check_sortable(spec: TensorSpec, call: Call) -> None:
    if spec.triton_dtype not in _CLASSIFIABLE:
        raise InvalidRequest(
            call,
            f"the output {spec.name!r} is {spec.triton_dtype}, which cannot be classified",
            hint="Triton classifies FP32, FP64 and the integers.",
        )


def _nearest(name: str, known: Iterable[str]) -> str:
    names = list(known)
    close = difflib.get_close_matches(name, names, n=1)
    return f"Did you mean {close[0]!r}?" if close else f"Its outputs are {', '.join(names)}."
