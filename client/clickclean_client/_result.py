"""What an inference hands out."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any, Final

from numpy.typing import NDArray

from clickclean_client._exceptions import Call, InvalidRequest
from clickclean_client._wire import Parameter

_NONE: Final[Mapping[str, Any]] = MappingProxyType({})


@dataclass(frozen=True, slots=True)
class Classification:
    """One of the largest elements of an output: its value, its place in the row, its label.

    Triton writes the value with six decimals (`std::to_string` in its src/classification.cc).
    `label` is "" where the model has none; bytes in it that are not UTF-8 appear escaped.
    """

    score: float
    index: int
    label: str


Ranking = tuple[tuple[Classification, ...], ...]
"""For each row, its classifications, the largest score first."""


class InferResult(Mapping[str, NDArray[Any]]):
    """The outputs of one inference by name.

    Arrays are read-only and aligned. They are views of the received bytes, which they keep alive,
    or a copy where those lie across the alignment of the dtype (computing with such arrays takes
    ten times as long); `array.copy()` gives one to write to. BYTES outputs are object arrays of
    `bytes`. `model` is the name that was asked for, and `version` the version that answered, ""
    for an empty batch, which nobody was asked about. `parameters` are those of the answer.

    Of a call with a key: `arm` is "champion" or "challenger", the arm that the key is assigned to
    (the champion answers for a challenger that fails), and `experiment` is the experiment's name;
    both are "" while none runs. `prediction_id` is what an outcome refers to: the caller's
    `request_id`, or a new one for a call with a key.
    """

    __slots__ = (
        "_outputs",
        "_rankings",
        "arm",
        "experiment",
        "model",
        "parameters",
        "prediction_id",
        "request_id",
        "version",
    )

    def __init__(
        self,
        outputs: Mapping[str, NDArray[Any]],
        *,
        model: str,
        version: str,
        request_id: str,
        parameters: Mapping[str, Parameter] = _NONE,
        rankings: Mapping[str, Ranking] = _NONE,
    ) -> None:
        self._outputs = dict(outputs)
        # Plain dicts, because a result may cross to another process.
        self._rankings = dict(rankings) if rankings else {}
        self.model = model
        self.version = version
        self.request_id = request_id
        self.parameters: Mapping[str, Parameter] = dict(parameters) if parameters else {}
        self.arm = ""
        self.experiment = ""
        self.prediction_id = request_id

    @property
    def classified(self) -> tuple[str, ...]:
        """The outputs that `classes` knows."""
        return tuple(self._rankings)

    def classes(self, name: str) -> Ranking:
        """For each row, the largest elements of an output that was asked for with `classify`.

        A model that does not batch has one row.

        Raises:
            InvalidRequest: there is no such output, or it was not classified.
        """
        ranking = self._rankings.get(name)
        if ranking is not None:
            return ranking
        call = Call(model=self.model, version=self.version)
        if name not in self._outputs:
            names = ", ".join(self._outputs)
            raise InvalidRequest(
                call, f"its answer has no output {name!r}", hint=f"It has {names}."
            )
        raise InvalidRequest(
            call,
            f"the output {name!r} was not classified",
            hint=f"Ask for the largest elements: classify={{{name!r}: 3}}.",
        )

    def __getitem__(self, name: str) -> NDArray[Any]:
        return self._outputs[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._outputs)

    def __len__(self) -> int:
        return len(self._outputs)

    def __repr__(self) -> str:
        shapes = ", ".join(f"{k}: {v.dtype}{list(v.shape)}" for k, v in self._outputs.items())
        return f"InferResult({self.model!r}, version={self.version!r}, {{{shapes}}})"
