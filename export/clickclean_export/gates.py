"""Gates: numbers with a threshold that can refuse.

Each gate has three outcomes. ``pass``: the 95 % lower bound reaches the threshold. ``fail``: the
measured value misses it. ``inconclusive``: the value reaches it, but the sample is too small to
be sure; it says how many samples would be enough. What an inconclusive gate does is the recipe's
choice (``gates.on_inconclusive``).
"""

import math
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Literal

from clickclean_export.errors import GateRefused
from clickclean_export.hops import ENGINE, INT8, ONNX, PLAN_INT8, SERVED, TORCH, HopResult
from clickclean_export.recipe import GatesSection
from clickclean_export.statistics import lower_bound, trials_needed

Outcome = Literal["pass", "fail", "inconclusive"]


Kind = Literal["share", "tolerance", "flag"]


@dataclass(frozen=True)
class Gate:
    """One number against one threshold.

    Attributes:
        name: What is measured.
        kind: How to read it: a share of 1 (at least the threshold), a tolerance (at most), or a
            flag (1 is yes).
        value: Measured.
        threshold: See ``kind``.
        bound: One-sided 95 % bound of the value; None where the value is no estimate.
        outcome: See the module.
        samples_needed: For an inconclusive gate, or None when no number would do.
    """

    name: str
    kind: Kind
    value: float
    threshold: float
    bound: float | None
    outcome: Outcome
    samples_needed: int | None = None

    @property
    def shown_value(self) -> str:
        """The value as people read it."""
        return self._shown(self.value)

    @property
    def shown_threshold(self) -> str:
        """The threshold as people read it."""
        return self._shown(self.threshold)

    @property
    def shown_bound(self) -> str:
        """The bound as people read it; empty where there is none."""
        return "" if self.bound is None else self._shown(self.bound)

    def _shown(self, number: float) -> str:
        if self.kind == "flag":
            return "yes" if number else "no"
        return f"{number:.2%}" if self.kind == "share" else f"{number:.3g}"

    def sentence(self, samples: int) -> str:
        """Word the gate as a report or an error does."""
        if self.kind == "flag":
            return f"{self.name}: {self.shown_value}"
        sign = "<=" if self.kind == "tolerance" else ">="
        text = f"{self.name} {self.shown_value}, wanted {sign} {self.shown_threshold}"
        if self.outcome != "inconclusive":
            return text
        if self.samples_needed is None:
            return f"{text}, not certain and no number of such samples would make it so"
        more = self.samples_needed - samples
        return f"{text}, not certain with {samples} samples: {more} more like these would do"


@dataclass(frozen=True)
class GatedHop:
    """A hop's numbers and its gates."""

    result: HopResult
    gates: tuple[Gate, ...]

    @property
    def outcome(self) -> Outcome:
        """The worst of its gates."""
        outcomes = {gate.outcome for gate in self.gates}
        if "fail" in outcomes:
            return "fail"
        return "inconclusive" if "inconclusive" in outcomes else "pass"

    @property
    def summary(self) -> str:
        """The outcome with its two shares, as progress says them."""
        shares = f"accuracy {self.result.accuracy:.2%}, agreement {self.result.agreement:.2%}"
        return f"{self.outcome}: {shares}"


def judge(result: HopResult, rules: GatesSection) -> GatedHop:
    """Apply every gate that belongs to the hop."""
    gates = [
        _flag("finite outputs", holds=result.finite),
        _proportion("accuracy", result.right, result.samples, rules.accuracy_min),
    ]
    if result.hop != TORCH:
        gates.append(
            _proportion(
                "agreement with float", result.agreeing, result.samples, rules.agreement_min
            )
        )
    if result.hop == ONNX:
        gates += [
            _tolerance(f"tolerance of '{name}'", errors.max_rel, rules.float_tolerance)
            for name, errors in result.errors.items()
        ]
    if result.hop in {INT8, ENGINE, SERVED, PLAN_INT8}:
        gates.append(_paired(result, rules.int8_accuracy_ratio_min))
    return GatedHop(result, tuple(gates))


def enforce(hop: GatedHop, rules: GatesSection) -> None:
    """Refuse a hop whose gates demand it.

    Raises:
        GateRefused: with every failed number.
    """
    refusing: set[Outcome] = {"fail"}
    if rules.on_inconclusive == "refuse":
        refusing.add("inconclusive")
    refused = [gate for gate in hop.gates if gate.outcome in refusing]
    if refused:
        raise GateRefused(
            hop.result.hop,
            [gate.sentence(hop.result.samples) for gate in refused],
            hint=_hint(hop.result.hop, refused),
        )


def _proportion(name: str, successes: int, trials: int, threshold: float) -> Gate:
    value = successes / trials
    bound = lower_bound(successes, trials)
    if value < threshold:
        return Gate(name, "share", value, threshold, bound, "fail")
    if bound >= threshold:
        return Gate(name, "share", value, threshold, bound, "pass")
    return Gate(
        name, "share", value, threshold, bound, "inconclusive", trials_needed(value, threshold)
    )


def _paired(result: HopResult, ratio: float) -> Gate:
    test = result.paired(ratio)
    name = "accuracy as a share of float"
    value = test.observed_ratio
    if math.isnan(value) or value < ratio:
        return Gate(name, "share", value, ratio, None, "fail")
    if test.proven:
        return Gate(name, "share", value, ratio, None, "pass")
    return Gate(name, "share", value, ratio, None, "inconclusive", test.samples_needed)


def _tolerance(name: str, value: float, threshold: float) -> Gate:
    return Gate(name, "tolerance", value, threshold, None, "pass" if value <= threshold else "fail")


def _flag(name: str, *, holds: bool) -> Gate:
    return Gate(name, "flag", float(holds), 1.0, None, "pass" if holds else "fail")


def _hint(hop: str, refused: Iterable[Gate]) -> str:
    names = {gate.name for gate in refused}
    if hop == TORCH:
        return "the checkpoint itself is not good enough: is it the right one, and the right data?"
    if hop == ONNX:
        return "the exporter changed the model; compare it layer by layer before anything else"
    if names == {"finite outputs"}:
        return "look for overflow in layers left in float"
    return (
        "INT8 lost too much: try other calibration data or methods, or quantisation-aware training"
    )
