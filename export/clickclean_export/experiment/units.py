"""Which rows count: each key once, in the arm and the epoch that it was first seen in.

Keys are what is dealt to the arms, so keys are what is counted. Several outcomes of one key depend
on each other, and a mean over all of them is not what the sequential test is about: a key that is
heard often would shrink the interval without telling anything new. So the first outcome of a key
counts.

An epoch is a time in which the split did not change. A key belongs to the epoch of its first call,
where it went to the challenger with exactly that epoch's share; only outcomes of calls in that
epoch and arm count. A key that a ramp moves later is not counted again: what it does then may come
from the arm it was in before. Arms are compared within each epoch, never across, so a day of many
clicks at 1 % and a day of few at 50 % cannot feign a difference (Simpson's paradox).
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from clickclean_export.experiment.log_reader import ExperimentLog
from clickclean_export.experiment.plan import SplitChange

SETTLE_S = 10
"""Calls this close to a change of the split count for no metric: clients follow within seconds."""
NO_EPOCH = -1


@dataclass(frozen=True, eq=False)
class Units:
    """The keys that count, and their first outcomes.

    Attributes:
        time_us: int64[units], first call, in order.
        challenger: bool[units], the arm of the first call.
        epoch: int64[units], 0..epochs-1.
        outcome_time_us: int64[outcomes], in order.
        outcome_value: float64[outcomes].
        outcome_challenger: bool[outcomes].
        outcome_epoch: int64[outcomes].
        unsettled: Keys first seen while the split changed; they do not count.
        in_two_arms: Keys seen in both arms within their epoch, which cannot happen if all
            clients use the same rule and salt.
        seen_before: Keys seen in the present epoch that belong to an earlier one.
    """

    time_us: NDArray[np.int64]
    challenger: NDArray[np.bool_]
    epoch: NDArray[np.int64]
    outcome_time_us: NDArray[np.int64]
    outcome_value: NDArray[np.float64]
    outcome_challenger: NDArray[np.bool_]
    outcome_epoch: NDArray[np.int64]
    unsettled: int
    in_two_arms: int
    seen_before: int


def units_of(log: ExperimentLog, changes: Sequence[SplitChange]) -> Units:
    """Choose what counts.

    Args:
        log: Of one experiment.
        changes: In the order of time; the first is the start.
    """
    calls = log.exposures
    epoch = _epochs(calls.time_us, changes)
    _, first = np.unique(calls.unit, return_index=True)
    home_epoch, home_arm = epoch[first], calls.challenger[first]
    at_home = (epoch == home_epoch[calls.unit]) & (epoch != NO_EPOCH)
    same_arm = calls.challenger == home_arm[calls.unit]
    present = calls.unit[epoch == len(changes) - 1]

    outcomes = log.outcomes
    counted = (at_home & same_arm)[outcomes.call]
    units_heard = calls.unit[outcomes.call[counted]]
    _, earliest = np.unique(units_heard, return_index=True)
    chosen = np.flatnonzero(counted)[np.sort(earliest)]
    heard = calls.unit[outcomes.call[chosen]]

    kept = np.sort(first[home_epoch != NO_EPOCH])
    return Units(
        time_us=calls.time_us[kept],
        challenger=calls.challenger[kept],
        epoch=epoch[kept],
        outcome_time_us=outcomes.time_us[chosen],
        outcome_value=outcomes.value[chosen],
        outcome_challenger=home_arm[heard],
        outcome_epoch=home_epoch[heard],
        unsettled=int((home_epoch == NO_EPOCH).sum()),
        in_two_arms=len(np.unique(calls.unit[at_home & ~same_arm])),
        seen_before=len(np.unique(present[home_epoch[present] != len(changes) - 1])),
    )


def _epochs(time_us: NDArray[np.int64], changes: Sequence[SplitChange]) -> NDArray[np.int64]:
    """Number the epoch of each call; ``NO_EPOCH`` close to a change.

    What is logged before the start is of the first epoch: the experiment's name in the row proves
    that its client knew the split, and clocks differ.
    """
    turns = np.array([change.time_us for change in changes[1:]], np.int64)
    epoch = np.searchsorted(turns, time_us, side="right").astype(np.int64)
    for turn in turns:
        epoch[np.abs(time_us - turn) <= SETTLE_S * 1_000_000] = NO_EPOCH
    return epoch
