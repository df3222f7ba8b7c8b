"""Ensembles: the data flow inside one, and its steps against the models they call.

(https://github.com/triton-inference-server/core: src/model_config_utils.cc,
"ValidateEnsembleSchedulingConfig"; src/ensemble_scheduler/ensemble_utils.cc)
"""

import re
from collections.abc import Iterator
from typing import Any, Final

from clickclean_export.errors import nearest
from clickclean_export.repository_lint.backends import ENSEMBLE, is_ensemble, loaded
from clickclean_export.repository_lint.finding import (
    CONFIG_GUIDE,
    CORE_CHECKS,
    LintFinding,
    Rule,
    server_issue,
)
from clickclean_export.repository_lint.reading import ConfigFile, Subject
from clickclean_export.repository_lint.tensors import type_name

PLATFORM = Rule(
    "ensemble-platform",
    "error",
    "ensemble_scheduling and platform: ensemble belong together, and go with no backend.",
    'write platform: "ensemble" and ensemble_scheduling, and no backend',
    CORE_CHECKS,
)
EXTRA = Rule(
    "ensemble-extra-setting",
    "error",
    "An ensemble with instance_group, optimization or model_warmup: it has no instances.",
    "move the setting to the models it calls",
    f"{CONFIG_GUIDE}#ensemble-model-instance-groups",
)
STEP = Rule(
    "ensemble-step-incomplete",
    "error",
    "An ensemble without steps, or a step without model_name, input_map or output_map.",
    "each step needs all three",
    CORE_CHECKS,
)
KEY_TWICE = Rule(
    "map-key-twice",
    "error",
    "A step maps one key twice: only the last entry counts.",
    "the key is the model's tensor, the value the ensemble's; one output may feed many steps by"
    " its one value",
    server_issue(4560),
)
UNWRITTEN = Rule(
    "ensemble-tensor-unwritten",
    "error",
    "A tensor of the ensemble is used and never written, or steps wait for each other in a circle.",
    "write it in an output_map, or make it an input of the ensemble",
    server_issue(5742),
)
UNUSED = Rule(
    "ensemble-tensor-unused",
    "error",
    "An ensemble's input or inner tensor that no step reads.",
    "remove it from the input or the output_map, or use it",
    CORE_CHECKS,
)
WRITTEN_TWICE = Rule(
    "ensemble-tensor-written-twice",
    "error",
    "Two steps write one tensor of the ensemble.",
    "give each output a value of its own",
    CORE_CHECKS,
)
UNKNOWN_KEY = Rule(
    "ensemble-key-unknown",
    "error",
    "A step maps an input or output that its model does not have.",
    "the key is the model's name of the tensor, exactly",
    server_issue(4520),
)
UNMAPPED = Rule(
    "ensemble-input-unmapped",
    "error",
    "A step leaves out an input that its model requires.",
    "map every input that is not optional",
    "https://github.com/ELS-RD/transformer-deploy/pull/154",
)
TYPE = Rule(
    "ensemble-type-differs",
    "error",
    "One tensor of the ensemble has two data types: what one model writes, the next cannot read.",
    "make the types of both models agree, or convert in between",
    server_issue(2885),
)
SHAPE = Rule(
    "ensemble-shape-differs",
    "error",
    "One tensor of the ensemble has two shapes.",
    "make the dims of both models agree; with max_batch_size 0 the batch axis is part of dims",
    server_issue(7355),
)
BATCH = Rule(
    "ensemble-batch-too-large",
    "error",
    "The ensemble allows larger batches than one of its models.",
    "use the smallest max_batch_size of the steps",
    server_issue(6776),
)
ABSENT = Rule(
    "ensemble-model-missing",
    "error",
    "A step calls a model that the repository does not have.",
    "add the model, or correct model_name",
    server_issue(4630),
)
VERSION = Rule(
    "ensemble-version-missing",
    "error",
    "A step asks for a version that its model does not load; without model_version that is 0.",
    "write model_version: -1 for the newest that is loaded",
    server_issue(5474),
)
CYCLE = Rule(
    "ensemble-circle",
    "error",
    "Ensembles call each other in a circle.",
    "break the circle",
    "https://github.com/triton-inference-server/core/blob/main/src/model_repository_manager/"
    "model_repository_manager.cc",
)
RULES: Final = (
    PLATFORM,
    EXTRA,
    STEP,
    KEY_TWICE,
    UNWRITTEN,
    UNUSED,
    WRITTEN_TWICE,
    UNKNOWN_KEY,
    UNMAPPED,
    TYPE,
    SHAPE,
    BATCH,
    ABSENT,
    VERSION,
    CYCLE,
)

_MAP = re.compile(r"(input_map|output_map)\s*:?\s*(\{[^{}]*\}|\[[^\[\]]*\])")
_KEY = re.compile(r"""\bkey\s*:\s*(["'])(.*?)\1""")


def check_ensemble(subject: Subject) -> Iterator[LintFinding]:
    """Look at an ensemble by itself; nothing for other models."""
    message = subject.message
    if not is_ensemble(message):
        return
    line = subject.config.line(r"^\s*(platform|ensemble_scheduling)\b")
    if message.platform != ENSEMBLE or message.backend:
        yield subject.find(PLATFORM, "the platform is not 'ensemble' alone", line=line)
    if not message.HasField("ensemble_scheduling") or not message.ensemble_scheduling.step:
        yield subject.find(STEP, "the ensemble has no steps", line=line)
        return
    for name in ("instance_group", "optimization", "model_warmup"):
        value = getattr(message, name)
        if value if name != "optimization" else message.HasField(name):
            line = subject.config.line(rf"^\s*{name}\b")
            yield subject.find(EXTRA, f"the ensemble has {name}", line=line)
    incomplete = [
        (number, name)
        for number, step in enumerate(message.ensemble_scheduling.step)
        for name in ("model_name", "input_map", "output_map")
        if not getattr(step, name)
    ]
    for number, name in incomplete:
        problem = f"step {number} has no {name}"
        yield subject.find(STEP, problem, line=subject.config.line(r"\bstep\b"))
    doubled = list(_doubled_keys(subject.config))
    for line, kind, key in doubled:
        yield subject.find(KEY_TWICE, f"'{key}' stands twice in an {kind}", line=line)
    if not doubled and not incomplete:
        yield from _check_flow(subject)


def check_steps(subject: Subject) -> Iterator[LintFinding]:
    """Compare every step with the model that it calls, as the same fleet serves it."""
    message = subject.message
    if not is_ensemble(message):
        return
    known = subject.repository.models
    flow = _Flow(subject)
    for step in message.ensemble_scheduling.step:
        name = step.model_name
        line = subject.config.line_of_name(name)
        if not name or step.model_namespace:
            continue
        if name not in known or not known[name].is_model:
            near = nearest(name, known)
            hint = f"did you mean '{near}'?" if near else ""
            yield subject.find(ABSENT, f"there is no model '{name}'", line=line, hint=hint)
            continue
        config = known[name].config_of(subject.fleet or subject.config.fleet)
        if config.message is None:
            continue  # a finding of that model
        yield from _check_version(subject, step, config)
        called = config.message
        if 0 < called.max_batch_size < message.max_batch_size:
            problem = (
                f"max_batch_size {message.max_batch_size}, but '{name}' takes"
                f" {called.max_batch_size}"
            )
            yield subject.find(BATCH, problem, line=subject.config.line("max_batch_size"))
        yield from flow.compare(step, called)
    if _reaches(subject, subject.model.name):
        yield subject.find(CYCLE, f"'{subject.model.name}' calls itself in the end")


def _doubled_keys(config: ConfigFile) -> Iterator[tuple[int, str, str]]:
    """Yield line, kind of map and key: the parser keeps the last entry and is silent."""
    text = re.sub(r"#[^\n]*", "", config.text)
    seen: set[tuple[str, str]] = set()
    place = 0
    for match in _MAP.finditer(text):
        if "model_name" in text[place : match.start()]:
            seen.clear()
        place = match.end()
        for key in _KEY.finditer(match[2]):
            if (match[1], key[2]) in seen:
                line = text.count("\n", 0, match.start(2) + key.start()) + 1
                yield line, match[1], key[2]
            seen.add((match[1], key[2]))


def _check_flow(subject: Subject) -> Iterator[LintFinding]:
    message, config = subject.message, subject.config
    steps = list(message.ensemble_scheduling.step)
    written = [value for step in steps for value in step.output_map.values()]
    read = {value for step in steps for value in step.input_map.values()}
    outputs = [tensor.name for tensor in message.output]
    for name in sorted({name for name in written if written.count(name) > 1}):
        problem = f"'{name}' is written by {written.count(name)} steps"
        yield subject.find(WRITTEN_TWICE, problem, line=config.line_of_name(name))
    ready = {tensor.name for tensor in message.input}
    waiting = steps
    while True:
        done = [step for step in waiting if ready.issuperset(step.input_map.values())]
        if not done:
            break
        waiting = [step for step in waiting if step not in done]
        ready |= {value for step in done for value in step.output_map.values()}
    wanted = [*sorted({v for step in waiting for v in step.input_map.values()}), *outputs]
    lacking = [name for name in wanted if name not in ready]
    # First what nobody writes: what waits for it follows from that.
    causes = [name for name in lacking if name not in written] or lacking[:1]
    for name in dict.fromkeys(causes):
        why = "waits for itself in a circle" if name in written else "is written by no step"
        near = nearest(name, sorted(ready | set(written)))
        hint = f"did you mean '{near}'?" if near and name not in written else ""
        line = config.line_of_name(name)
        yield subject.find(UNWRITTEN, f"'{name}' {why}", line=line, hint=hint)
    if lacking:
        return
    for name in sorted({*(t.name for t in message.input), *written} - read - set(outputs)):
        yield subject.find(UNUSED, f"nothing reads '{name}'", line=config.line_of_name(name))


def _check_version(subject: Subject, step: Any, config: ConfigFile) -> Iterator[LintFinding]:
    if step.model_version == -1:
        return
    name = step.model_name
    loads = loaded(config.message, subject.repository.models[name].versions)
    if step.model_version not in loads:
        shown = ", ".join(map(str, loads)) or "none"
        problem = f"'{name}' version {step.model_version} is asked for; loaded: {shown}"
        line = subject.config.line_of_name(name)
        yield subject.find(VERSION, problem, line=line)


class _Flow:
    """Types and shapes of an ensemble's tensors, as far as its steps have told them."""

    def __init__(self, subject: Subject) -> None:
        self._subject = subject
        message = subject.message
        self._known: dict[str, tuple[str, int, list[int], bool]] = {}
        for tensor in (*message.input, *message.output):
            dims = tensor.reshape.shape if tensor.HasField("reshape") else tensor.dims
            batching = message.max_batch_size > 0
            entry = ("the ensemble", tensor.data_type, list(dims), batching)
            self._known[tensor.name] = entry

    def compare(self, step: Any, called: Any) -> Iterator[LintFinding]:
        """Compare one step with the config of its model."""
        for kind, mapping, tensors in (
            ("input", step.input_map, called.input),
            ("output", step.output_map, called.output),
        ):
            if not tensors:
                continue  # completed by the backend; not known here
            by_name = {tensor.name: tensor for tensor in tensors}
            unknown = sorted(set(mapping) - set(by_name))
            for key in unknown:
                near = nearest(key, by_name)
                yield self._subject.find(
                    UNKNOWN_KEY,
                    f"'{step.model_name}' has no {kind} '{key}'",
                    line=self._subject.config.line_of_name(key),
                    hint=f"did you mean '{near}'?" if near else f"it has {', '.join(by_name)}",
                )
            if kind == "input" and not unknown:
                for name, tensor in by_name.items():
                    if name not in mapping and not tensor.optional:
                        line = self._subject.config.line_of_name(step.model_name)
                        problem = f"'{step.model_name}' wants '{name}', the step maps none"
                        yield self._subject.find(UNMAPPED, problem, line=line)
            for key, value in sorted(mapping.items()):
                if key in by_name:
                    yield from self._meet(step.model_name, called, by_name[key], value)

    def _meet(self, model: str, called: Any, tensor: Any, name: str) -> Iterator[LintFinding]:
        mine = (f"'{model}'", tensor.data_type, list(tensor.dims), called.max_batch_size > 0)
        other = self._known.setdefault(name, mine)
        line = self._subject.config.line_of_name(name)
        if other[1] != mine[1]:
            problem = (
                f"'{name}' is {type_name(other[1])} for {other[0]} and {type_name(mine[1])} for"
                f" {mine[0]}"
            )
            yield self._subject.find(TYPE, problem, line=line)
        elif not _fits(other, mine):
            problem = f"'{name}' is {other[2]} for {other[0]} and {mine[2]} for {mine[0]}"
            yield self._subject.find(SHAPE, problem, line=line)


def _fits(one: tuple[str, int, list[int], bool], two: tuple[str, int, list[int], bool]) -> bool:
    def alike(a: list[int], b: list[int]) -> bool:
        return len(a) == len(b) and all(x == y or -1 in {x, y} for x, y in zip(a, b, strict=True))

    whole = [([-1] if batching else []) + dims for _, _, dims, batching in (one, two)]
    return alike(one[2], two[2]) or alike(*whole)


def _reaches(subject: Subject, goal: str) -> bool:
    fleet = subject.fleet or subject.config.fleet
    seen: set[str] = set()
    queue = [step.model_name for step in subject.message.ensemble_scheduling.step]
    while queue:
        name = queue.pop()
        if name == goal:
            return True
        model = subject.repository.models.get(name)
        if name in seen or model is None:
            continue
        seen.add(name)
        message = model.config_of(fleet).message
        if message is not None:
            queue.extend(step.model_name for step in message.ensemble_scheduling.step)
    return False
