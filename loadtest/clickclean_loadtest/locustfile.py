"""The Locust side: users, events and flags. The one module that imports Locust.

    locust -f loadtest/locustfile.py --host 127.0.0.1:8001 --cc-model digits --cc-rate 50

Locust must be imported before gRPC (it patches the interpreter), and gRPC must be told about
gevent before its first channel, or a waiting call would stop all users
(https://grpc.github.io/grpc/python/grpc_gevent.html).
"""

import math
import sys
from typing import Any

import gevent
from gevent.event import Event
from locust import User, events, task
from locust.exception import StopUser

import grpc.experimental.gevent as grpc_gevent  # isort: skip  # after locust

from clickclean_client import ClickCleanError
from clickclean_loadtest.errors import NotDistributedError
from clickclean_loadtest.execution import GRACE_S, Execution
from clickclean_loadtest.options import DEFAULT_ENDPOINT, add_arguments, duration_of, from_options
from clickclean_loadtest.outlet import Outlet
from clickclean_loadtest.plan import Plan, prepare
from clickclean_loadtest.spec import users_for
from clickclean_loadtest.target import Target

grpc_gevent.init_gevent()

__all__ = ["TritonUser"]

CHECK_S = 0.05
PROGRESS_S = 1.0


class TritonUser(User):
    """Sends the next request of the shared schedule when it is due."""

    host = DEFAULT_ENDPOINT

    def on_start(self) -> None:
        """Join the run that is on, and wait until all users are there."""
        self._run = _session.execution
        if self._run is not None:
            self._client = self._run.join()
            _session.all_there.wait()

    @task
    def next_request(self) -> None:
        """Take one arrival of the schedule."""
        if self._run is None or not self._run.serve_next(self._client):
            raise StopUser


class _Session:
    """What lives as long as the Locust process: the plan, and the run that is on."""

    def __init__(self) -> None:
        self.plan: Plan | None = None
        self.execution: Execution | None = None
        self.all_there = Event()
        self.outlet = Outlet()
        self.table = ""
        self.open_ended = True
        self.environment: Any = None  # `spawning_complete` does not tell which


_session = _Session()


def _on_parser(parser: Any) -> None:
    add_arguments(parser)


def _on_init(environment: Any, **_: Any) -> None:
    """Without a web page, refuse a run that cannot work before it starts."""
    options: Any = environment.parsed_options
    _session.environment = environment
    # Kept from here on: the web page's form could set any option, this file name too.
    _session.outlet = Outlet(options.cc_result, options.cc_report_fd)
    try:
        _session.outlet.check()
        if options.master or options.worker or (options.processes or 1) != 1:
            raise NotDistributedError
        if options.headless:
            _session.plan = prepare(from_options(options))
    except ClickCleanError as exc:
        _session.outlet.refusal(exc)
        sys.exit(exc.exit_code)
    if options.headless and _session.plan is not None:
        options.num_users = _session.plan.users
    else:
        options.num_users = options.num_users or users_for(options.cc_rate, Target())
    options.spawn_rate = options.spawn_rate or options.num_users
    if options.headless:
        _session.open_ended = duration_of(options) is None
        _leave_the_end_to_the_schedule(options)


def _leave_the_end_to_the_schedule(options: Any) -> None:
    """Locust's timer starts before its users, and would cut off the last, slowest answers."""
    asked_s = duration_of(options)
    if asked_s is None:
        return
    spawning_s = options.num_users / options.spawn_rate
    options.run_time = math.ceil(spawning_s + asked_s + options.cc_timeout + 2 * GRACE_S)


def _on_test_start(environment: Any, **_: Any) -> None:
    options: Any = environment.parsed_options
    _session.all_there.clear()
    _session.execution = None
    try:
        if not options.headless:
            options.host = environment.host or options.host
            _session.plan = prepare(from_options(options))
    except ClickCleanError as exc:
        _session.outlet.refusal(exc)
        gevent.spawn_later(CHECK_S, environment.runner.stop)
        return
    if _session.plan is None:
        return
    plan = _session.plan
    environment.stop_timeout = max(environment.stop_timeout or 0.0, plan.spec.timeout_s + 1)

    def fire(latency_ms: float, size_bytes: int, kind: str) -> None:
        environment.events.request.fire(
            request_type="grpc",
            name=plan.spec.model,
            response_time=latency_ms,
            response_length=size_bytes,
            exception=kind or None,
            context={},
        )

    _session.execution = Execution(plan, open_ended=_session.open_ended, fire=fire)
    _session.execution.connect()


def _on_spawning_complete(**_: Any) -> None:
    run = _session.execution
    if run is None or run.started_at is not None:
        return
    run.start()
    _session.all_there.set()
    gevent.spawn(_beat, run)
    gevent.spawn(_watch, _session.environment, run)


def _beat(run: Execution) -> None:
    while run.result is None:
        gevent.sleep(max(0.0, run.beats.next_due_s - run.elapsed_s))
        run.beats.note(run.elapsed_s)


def _watch(environment: Any, run: Execution) -> None:
    """Report progress, and end the run when its schedule is done."""
    next_report_s = PROGRESS_S
    while run.result is None and not run.done:
        gevent.sleep(CHECK_S)
        if run.elapsed_s >= next_report_s:
            next_report_s += PROGRESS_S
            _session.outlet.progress(run)
        if _session.outlet.deaf:
            break  # the process that asked for the run is gone
    if run.result is None:
        runner = environment.runner
        (runner.quit if environment.parsed_options.headless else runner.stop)()


def _on_test_stopping(**_: Any) -> None:
    if _session.execution is not None:
        _session.execution.stop()


def _on_test_stop(environment: Any, **_: Any) -> None:
    run, _session.execution = _session.execution, None
    if run is not None and run.started_at is not None:
        result = run.finish()
        environment.process_exit_code = result.exit_code
        _session.outlet.result(result)
        _session.table = result.table()
        if not environment.parsed_options.headless:
            _on_quit()


def _on_quitting(environment: Any, **_: Any) -> None:
    """On Ctrl-C Locust asks for the exit code before it stops the users; stop them first."""
    if _session.execution is not None:
        environment.runner.stop()


def _on_quit(**_: Any) -> None:
    """The verdict comes last, after Locust's own tables."""
    _session.outlet.say(_session.table)
    _session.table = ""


def _connect(hooks: Any) -> None:
    hooks.init_command_line_parser.add_listener(_on_parser)
    hooks.init.add_listener(_on_init)
    hooks.test_start.add_listener(_on_test_start)
    hooks.spawning_complete.add_listener(_on_spawning_complete)
    hooks.test_stopping.add_listener(_on_test_stopping)
    hooks.test_stop.add_listener(_on_test_stop)
    hooks.quitting.add_listener(_on_quitting)
    hooks.quit.add_listener(_on_quit)


_connect(events)
