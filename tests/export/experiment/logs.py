"""Log folders as clients write them, with whatever is wrong planted in them."""

import hashlib
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from clickclean_export.experiment.plan import ExperimentPlan, SplitChange

START = datetime(2026, 11, 23, 12, tzinfo=UTC)
EXPERIMENT, SALT = "digits-3-20261123T120000", "some salt"
PLAN = ExperimentPlan(
    experiment=EXPERIMENT,
    model="digits",
    champion=2,
    challenger=3,
    salt=SALT,
    started=START.isoformat(),
)

TIME = pa.timestamp("us", "UTC")
SCHEMAS = {
    "exposures": pa.schema(
        [
            ("time", TIME),
            ("experiment", pa.string()),
            ("model", pa.string()),
            ("arm", pa.string()),
            ("version", pa.int64()),
            ("prediction_id", pa.string()),
            ("unit", pa.string()),
            ("latency_ms", pa.float64()),
            ("error", pa.string()),
            ("fallback", pa.bool_()),
        ]
    ),
    "outcomes": pa.schema(
        [
            ("time", TIME),
            ("experiment", pa.string()),
            ("prediction_id", pa.string()),
            ("name", pa.string()),
            ("value", pa.float64()),
        ]
    ),
    "shadows": pa.schema(
        [
            ("time", TIME),
            ("experiment", pa.string()),
            ("model", pa.string()),
            ("prediction_id", pa.string()),
            ("champion_version", pa.int64()),
            ("challenger_version", pa.int64()),
            ("champion_ms", pa.float64()),
            ("challenger_ms", pa.float64()),
            ("error", pa.string()),
            ("agree", pa.bool_()),
            ("max_difference", pa.float64()),
        ]
    ),
}


def at(seconds: float) -> datetime:
    return START + timedelta(seconds=seconds)


def split(*steps: tuple[float, float]) -> list[SplitChange]:
    """Changes as (seconds after the start, percent)."""
    return [SplitChange(at(seconds), percent) for seconds, percent in steps]


@dataclass
class Log:
    """Rows to be written; each ``flush`` is one file of each kind, as of one process."""

    folder: Path
    rows: dict[str, list[dict[str, Any]]] = field(
        default_factory=lambda: {kind: [] for kind in SCHEMAS}
    )
    files: int = 0

    def call(self, seconds: float, key: str, arm: str, prediction: str, **other: Any) -> None:
        version = PLAN.challenger if arm == "challenger" else PLAN.champion
        unit = hashlib.sha256(f"{SALT}:{key}".encode()).hexdigest()[:16]
        self.rows["exposures"].append(
            {
                "time": at(seconds),
                "experiment": EXPERIMENT,
                "model": "digits",
                "arm": arm,
                "version": version,
                "prediction_id": prediction,
                "unit": unit,
                "latency_ms": 10.0,
                "error": "",
                "fallback": False,
                **other,
            }
        )

    def outcome(self, seconds: float, prediction: str, value: Any, **other: Any) -> None:
        self.rows["outcomes"].append(
            {
                "time": at(seconds),
                "experiment": EXPERIMENT,
                "prediction_id": prediction,
                "name": "reward",
                "value": value,
                **other,
            }
        )

    def shadow(self, seconds: float, **other: Any) -> None:
        self.rows["shadows"].append(
            {
                "time": at(seconds),
                "experiment": EXPERIMENT,
                "model": "digits",
                "prediction_id": f"s{seconds}",
                "champion_version": 2,
                "challenger_version": 3,
                "champion_ms": 10.0,
                "challenger_ms": 12.0,
                "error": "",
                "agree": True,
                "max_difference": 0.001,
                **other,
            }
        )

    def flush(self) -> None:
        self.files += 1
        for kind, rows in self.rows.items():
            if rows:
                folder = self.folder / kind
                folder.mkdir(parents=True, exist_ok=True)
                table = pa.Table.from_pylist(rows, SCHEMAS[kind])
                pq.write_table(table, folder / f"part-{self.files}.parquet")
                rows.clear()


@dataclass(frozen=True)
class Traffic:
    """One call and one outcome for each new key, at ten keys a second.

    Attributes:
        share: Of keys that go to the challenger.
        champion, challenger: Probability that the outcome is 1.
        lost: Share of the challenger's keys that are never logged.
        errors: Of the challenger's calls.
        latency: How many times as long the challenger takes.
    """

    share: float = 0.5
    champion: float = 0.95
    challenger: float = 0.95
    lost: float = 0.0
    errors: float = 0.0
    latency: float = 1.0


def write_traffic(
    folder: Path, traffic: Traffic, keys: int, *, seed: int = 1, begin_s: float = 0.0
) -> None:
    """Write the log of new keys, whose names hold the seed."""
    rng = np.random.default_rng(seed)
    arm = rng.random(keys) < traffic.share
    kept = ~(arm & (rng.random(keys) < traffic.lost))
    rate = np.where(arm, traffic.challenger, traffic.champion)
    value = (rng.random(keys) < rate).astype(np.float64)[kept]
    failed = (arm & (rng.random(keys) < traffic.errors))[kept]
    latency = (rng.lognormal(2.3, 0.4, keys) * np.where(arm, traffic.latency, 1.0))[kept]
    start_us = split((begin_s, 0))[0].time_us
    time = (start_us + np.arange(keys) * 100_000)[kept]
    arm = arm[kept]
    rows = len(arm)
    names = [f"{seed}-{number}" for number in range(rows)]
    common: dict[str, Any] = {"experiment": [EXPERIMENT] * rows, "prediction_id": names}
    stamps = pa.array(time, pa.int64()).cast(TIME)
    exposures = {
        **common,
        "time": stamps,
        "model": ["digits"] * rows,
        "arm": np.where(arm, "challenger", "champion"),
        "version": np.where(arm & ~failed, 3, 2),
        "unit": names,
        "latency_ms": latency,
        "error": np.where(failed, "ServerFault", ""),
        "fallback": failed,
    }
    outcomes = {
        **common,
        "time": pa.array(time + 2_000_000, pa.int64()).cast(TIME),
        "name": ["reward"] * rows,
        "value": value,
    }
    for kind, columns in (("exposures", exposures), ("outcomes", outcomes)):
        (folder / kind).mkdir(parents=True, exist_ok=True)
        table = pa.table({name: columns[name] for name in SCHEMAS[kind].names}, SCHEMAS[kind])
        pq.write_table(table, folder / kind / f"traffic-{seed}.parquet")
