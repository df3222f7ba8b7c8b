"""Experiments in words, for people."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from clickclean_export.experiment.live import ArmOnServer
    from clickclean_export.experiment.store import Stored


def experiment_text(stored: "Stored") -> str:
    """Word what was decided and what share is in force."""
    plan, share = stored.plan, stored.share
    now = "ended" if stored.ended else f"{share.percent:g} % of the keys"
    mirrored = f", {share.shadow_percent:g} % mirrored" if share.shadow_percent else ""
    return (
        f"{plan.experiment}  {plan.model} version {plan.challenger} against {plan.champion}"
        f"  {now}{mirrored}  since {plan.started}"
    )


def arms_text(arms: "Sequence[ArmOnServer]") -> list[str]:
    """Word what each server does with the challenger."""
    return [
        f"  {arm.endpoint}  challenger {arm.version or 'not loaded'}"
        + (f", {arm.percent:g} %" if arm.percent is not None else "")
        + f", {arm.requests} answered, {arm.failures} failed since the last change, golden ones too"
        for arm in arms
    ]
