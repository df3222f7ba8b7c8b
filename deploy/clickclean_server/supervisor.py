"""Owns one tritonserver: starts it, proves it, follows promotions, brings it back, stops it."""

import os
import secrets
import time
from collections import deque
from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path

from clickclean_client.slots import owner
from clickclean_server.backend_directory import backend_directory
from clickclean_server.endpoint import Endpoint
from clickclean_server.errors import ServerError, ServerLostError, VersionBrokenError
from clickclean_server.events import Events
from clickclean_server.instance import Instance, Stopped
from clickclean_server.launch import Launch
from clickclean_server.live_model import LiveModel, Report, Step
from clickclean_server.ownership import Owner, remove_regions, sweep
from clickclean_server.ports import HOST, PortWishes
from clickclean_server.registry import Running, register, unregister
from clickclean_server.repository import Promoted, Repository
from clickclean_server.wheel import find_wheel

TICK_S = 0.1
LOOK_EVERY_S = 0.5
DISK_EVERY_S = 0.5
MAX_BACKOFF_S = 15.0
START_ATTEMPTS = 3
# This many restarts within the window are a server that cannot be kept up.
CRASHES = 5
CRASH_WINDOW_S = 60.0
FAILURES_TO_RESTART = 2
# A server that dies during a promotion may have died of it.
PROMOTION_ATTEMPTS = 2


@dataclass(frozen=True)
class Settings:
    """What the user asked for."""

    repository: Path
    fleet: str
    models: tuple[str, ...] | None
    ports: PortWishes
    log: Path
    parent: int | None  # stop when this process is not our parent any more


class Supervisor:
    """One life: `run` returns after a stop, or raises ServerError.

    Only the thread that calls `run` starts processes: the kernel ends tritonserver when the thread
    that started it ends.
    """

    def __init__(self, settings: Settings, events: Events) -> None:
        self.settings = settings
        self.events = events
        self.owner = Owner.me()
        self.stop_requests = 0
        self.crashes: deque[float] = deque(maxlen=CRASHES)
        self.models: dict[str, LiveModel] = {}
        self.pool = ThreadPoolExecutor(4, thread_name_prefix="model")
        self.disk_at = 0.0

    def stop(self) -> None:
        """Asks for a stop, from a signal handler; a second call skips the waiting."""
        self.stop_requests += 1

    def run(self, announce: Callable[[Endpoint], None]) -> None:
        """Serves until stopped; `announce` is called once, when every golden answer was right."""
        self.repository = Repository.open(self.settings.repository, self.settings.fleet)
        promoted, skipped = self.repository.live(self.settings.models)
        self.launch = self._plan()
        processes, regions = sweep()
        if processes or regions:
            text = f"removed {processes} processes and {regions} shared memory regions left behind"
            self.events.emit("swept", text, processes=processes, regions=regions)
        for model in skipped:
            self.events.emit("skipped", f"model {model!r} has nothing promoted", model=model)
        try:
            self._start(promoted)
            register(self._known())
            announce(self._endpoint())
            self._watch()
            self.events.emit("stopping", "stopping; requests in flight are answered")
        except Stopped:
            self.events.emit("stopping", "stopping while the server was not ready")
        finally:
            self._stop()
        self.events.emit("stopped", "stopped")

    def _plan(self) -> Launch:
        wheel = find_wheel()
        return Launch(
            wheel=wheel,
            backends=backend_directory(wheel),
            repository=self.repository.root,
            fleet=self.settings.fleet,
            ports=self.settings.ports.choose(),
            owner=self.owner,
            key=secrets.token_urlsafe(16),
        )

    def _known(self) -> Running:
        endpoint = f"{HOST}:{self.launch.ports.grpc}"
        root, key = str(self.repository.root), self.launch.key
        return Running(self.owner.mark, endpoint, root, self.settings.fleet, key)

    def _stop(self) -> None:
        unregister(self.owner)
        instance = getattr(self, "instance", None)
        if instance is not None:
            instance.process.stop(hurry=lambda: self.stop_requests > 1)
            instance.close()
        # After the server has gone no step can wait for anything.
        self.pool.shutdown(wait=True, cancel_futures=True)
        remove_regions(self.owner)

    def _stopping(self) -> bool:
        parent = self.settings.parent
        return self.stop_requests > 0 or (parent is not None and os.getppid() != parent)

    def _endpoint(self) -> Endpoint:
        ports = self.launch.ports
        return Endpoint(
            grpc=f"{HOST}:{ports.grpc}",
            http=f"http://{HOST}:{ports.http}",
            metrics=f"http://{HOST}:{ports.metrics}/metrics",
            log=self.settings.log,
            events=self.events.path,
            pid=os.getpid(),
            models={n: m.serving.versions for n, m in self.models.items() if m.serving},
        )

    def _start(self, promoted: Sequence[Promoted]) -> None:
        """First start: whatever does not work is the user's to know, so it raises."""
        self.events.emit("starting", f"starting tritonserver on {HOST}:{self.launch.ports.grpc}")
        for attempt in range(START_ATTEMPTS):
            self.instance = Instance(self.launch, self.owner, self.settings.log)
            self.models = {model.model: LiveModel(model, model.fingerprint) for model in promoted}
            try:
                self.instance.wait_live(self._stopping)
                self._load_all()
                break
            except (ServerLostError, VersionBrokenError):
                ended = self.instance.process.exit_code() is not None
                if not ended or attempt + 1 == START_ATTEMPTS:
                    raise
            self.instance.process.kill()
            self.instance.close()
            # Somebody may have taken a port between our choice and its use: for a given one
            # choose() says so, and otherwise another one will do.
            self.launch = replace(self.launch, ports=self.settings.ports.choose())
        served = ", ".join(f"{model.model} {model.versions}" for model in promoted)
        self.events.emit("ready", f"ready: {served}", pid=self.instance.process.pid)

    def _load_all(self) -> None:
        starts = [self.pool.submit(model.start, self.instance) for model in self.models.values()]
        for start in starts:
            self._await(start)

    def _watch(self) -> None:
        while not self._stopping():
            code = self.instance.process.exit_code()
            if code is not None:
                self._restart("server-died", f"tritonserver ended with code {code}")
            now = time.monotonic()
            if now >= self.disk_at:
                self.disk_at = now + DISK_EVERY_S
                self._read_disk()
            for name, model in list(self.models.items()):
                if model.task is not None and model.task.done():
                    task, model.task, model.promoting = model.task, None, False
                    self._react(name, model, task.result())
                if model.task is None and (now >= model.next_at or model.just_died()):
                    model.task = self.pool.submit(model.look, self.instance, self.repository)
            time.sleep(TICK_S)

    def _read_disk(self) -> None:
        try:
            owners = list(self.settings.models or self.repository.models())
            slots = self.repository.slots(owners)
        except OSError:
            return  # the folder is being replaced; what serves, serves on
        gone = [name for name in self.models if owner(name) in owners and name not in slots]
        for name in (*owners, *slots, *gone):
            fingerprint = self.repository.fingerprint(name)
            model = self.models.get(name)
            if name in gone and model is not None and model.task is None:
                model.task = self.pool.submit(model.unload, self.instance, self.repository, name)
            elif fingerprint is None:
                if model is not None and model.seen is not None:
                    model.seen = None
                    text = f"the config of model {name!r} is gone; it is served on"
                    self.events.emit("config-missing", text, model=name)
                continue
            if model is None:
                model = self.models[name] = LiveModel(serving=None, seen=None)
            if model.seen != fingerprint and model.task is None:
                model.attempts = 1 if model.seen else model.attempts + 1
                model.seen = fingerprint
                model.promoting = True
                model.task = self.pool.submit(model.promote, self.instance, self.repository, name)

    def _react(self, name: str, model: LiveModel, report: Report) -> None:
        facts = {"model": name, "versions": report.versions, "detail": report.detail}
        model.next_at = time.monotonic() + LOOK_EVERY_S
        which = f"model {name!r} version {', '.join(map(str, report.versions)) or '-'}"
        if report.step is Step.WELL:
            model.trouble = False
        elif report.step in {Step.SUSPECT, Step.BUSY}:
            if not model.trouble:
                model.trouble = True
                event = "fault" if report.step is Step.SUSPECT else "overloaded"
                self.events.emit(event, f"{which}: {report.detail}", **facts)
            if report.step is Step.SUSPECT:
                model.next_at = 0.0
        elif report.step is Step.DEAD:
            self.events.emit("dead", f"{which} is dead: {report.detail}", **facts)
            model.task = self.pool.submit(model.revive, self.instance, self.repository)
        elif report.step is Step.REVIVED:
            self.events.emit("revived", f"{which} revived", **facts)
        elif report.step is Step.REVIVE_FAILED:
            self._revive_failed(name, model, report)
        elif report.step is Step.HUNG:
            self.events.emit("hung", f"{which} is hung: {report.detail}", **facts)
            self._restart("hung", f"{which} computes nothing")
        else:
            self._react_to_change(name, model, report, which)

    def _react_to_change(self, name: str, model: LiveModel, report: Report, which: str) -> None:
        facts = {"model": name, "versions": report.versions, "detail": report.detail}
        if report.step is Step.WAITING:
            model.seen, model.attempts = None, 0
        elif report.step is Step.CHANGED:
            detail = f" ({report.detail})" if report.detail else ""
            text = f"{which} is live, changed by an operator{detail}"
            self.events.emit("changed", text, **facts)
        elif report.step is Step.UNLOADED:
            self.events.emit("unloaded", f"{which} is unloaded {report.detail}".rstrip(), **facts)
            if owner(name):
                del self.models[name]
        elif report.step is Step.PROMOTED:
            self.events.emit("promoted", f"{which} is live", **facts)
        elif report.step is Step.PROMOTION_FAILED:
            kept = model.serving.versions if model.serving else "nothing"
            text = f"promotion of {which} failed, {kept} serves on: {report.detail}"
            self.events.emit("promotion-failed", text, **facts)

    def _revive_failed(self, name: str, model: LiveModel, report: Report) -> None:
        model.failures += 1
        text = f"model {name!r} could not be revived: {report.detail}"
        self.events.emit("revive-failed", text, model=name, detail=report.detail)
        # Once a restart is worth its interruption of the other models; after that only waiting is.
        wait_s = min(2.0**model.failures, MAX_BACKOFF_S) if model.failures > 1 else 0.0
        model.next_at = time.monotonic() + wait_s
        if model.failures == FAILURES_TO_RESTART:
            self._restart("revive-failed", f"model {name!r} does not come back by itself")

    def _restart(self, cause: str, text: str) -> None:
        """A new server on the same ports with what was proven last."""
        while not self._stopping():
            self.events.emit("server-died" if cause == "server-died" else "restarting", text)
            self.instance.process.kill()
            self.instance.close()
            now = time.monotonic()
            if len(self.crashes) == CRASHES and now - self.crashes[0] < CRASH_WINDOW_S:
                problem = f"Tritonserver failed {CRASHES} times within {CRASH_WINDOW_S:g} s"
                self.events.emit("gave-up", problem)
                raise ServerLostError(problem, self.settings.log)
            recent = sum(now - then < CRASH_WINDOW_S for then in self.crashes)
            self.crashes.append(now)
            self._pause(min(0.5 * recent, MAX_BACKOFF_S))
            self._settle()
            self.instance = Instance(self.launch, self.owner, self.settings.log)
            try:
                self.instance.wait_live(self._stopping)
            except ServerError as exc:
                text = str(exc)
                continue
            self._reload()
            self.events.emit("restarted", "the server is back", pid=self.instance.process.pid)
            return

    def _settle(self) -> None:
        # Steps that talked to the old server end by themselves: its connections are closed.
        for name, model in self.models.items():
            if model.task is None:
                continue
            task, model.task = model.task, None
            if task.exception() is None and model.promoting:
                if model.attempts < PROMOTION_ATTEMPTS:
                    model.seen = None
                elif task.result().step is not Step.PROMOTED:
                    self._react(name, model, replace(task.result(), step=Step.PROMOTION_FAILED))
            model.promoting = False

    def _reload(self) -> None:
        starts = [
            (name, self.pool.submit(model.start, self.instance))
            for name, model in self.models.items()
        ]
        for name, start in starts:
            try:
                self._await(start)
            except ServerError as exc:
                text = f"model {name!r} did not come back: {exc}"
                self.events.emit("revive-failed", text, model=name)
                self.models[name].next_at = time.monotonic() + LOOK_EVERY_S

    def _await(self, start: "Future[None]") -> None:
        """Raises what the step raised, or Stopped."""
        while not start.done():
            if self._stopping():
                raise Stopped
            time.sleep(TICK_S / 2)
        start.result()

    def _pause(self, seconds: float) -> None:
        until = time.monotonic() + seconds
        while time.monotonic() < until and not self._stopping():
            time.sleep(TICK_S / 2)
