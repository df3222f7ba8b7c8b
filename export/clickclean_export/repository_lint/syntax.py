"""Why a config's text cannot be read, from the parser's words and the line they blame."""

import re
from typing import Any, Final

from clickclean_client.protocol import model_config_pb2
from clickclean_export.errors import nearest
from clickclean_export.repository_lint.finding import (
    CONFIG_GUIDE,
    PROTO,
    LintFinding,
    Rule,
    server_issue,
)
from clickclean_export.repository_lint.reading import ConfigFile, RepositoryFolder, found_in

_LLM = "https://github.com/triton-inference-server/tensorrtllm_backend/issues"

UNKNOWN_FIELD = Rule(
    "config-unknown-field",
    "error",
    "A field that Triton's model configuration does not have, or not at this place.",
    "write the field as model_config.proto has it, inside the message that owns it",
    server_issue(257),
)
UNKNOWN_VALUE = Rule(
    "config-unknown-value",
    "error",
    "A word where one of a fixed set is wanted: TYPE_BYTES, FP32 without TYPE_, KIND_GPUS.",
    "use a value of the enumeration, without quotes",
    "https://github.com/clearml/clearml-serving/issues/54",
)
PLACEHOLDER = Rule(
    "config-placeholder",
    "error",
    "A placeholder such as ${max_batch_size} that nobody filled in.",
    "fill the template, as tools/fill_template.py of the TensorRT-LLM backend does",
    f"{_LLM}/501",
)
PUNCTUATION = Rule(
    "config-punctuation",
    "error",
    "A comma, colon or bracket is missing, or one is too many.",
    "entries of a list are separated by commas, with none after the last, and brackets pair up",
    server_issue(6571),
)
PARAMETER = Rule(
    "parameter-not-a-string",
    "error",
    "A parameter that is not written as string_value: every parameter is a string.",
    'write parameters { key: "NAME" value { string_value: "VALUE" } }',
    "https://github.com/triton-inference-server/backend/pull/39",
)
TWO_SCHEDULERS = Rule(
    "two-schedulers",
    "error",
    "Two of dynamic_batching, sequence_batching and ensemble_scheduling: a model has one.",
    "keep one; the models inside an ensemble may each batch dynamically",
    server_issue(1966),
)
TWICE = Rule(
    "config-field-twice",
    "error",
    "A field that may be given once is given twice, or two that exclude each other.",
    "keep one of them",
    PROTO,
)
NOT_A_NUMBER = Rule(
    "config-not-a-number",
    "error",
    "Where a whole number is wanted stands something else, or one out of range.",
    "write a whole number without quotes",
    PROTO,
)
SYNTAX = Rule(
    "config-syntax",
    "error",
    "The text is no protobuf text for another reason, such as // for a comment or an open quote.",
    "comments begin with #, texts stand in quotes, and the file is UTF-8 without a byte order mark",
    CONFIG_GUIDE,
)
RULES: Final = (
    UNKNOWN_FIELD,
    UNKNOWN_VALUE,
    PLACEHOLDER,
    PUNCTUATION,
    PARAMETER,
    TWO_SCHEDULERS,
    TWICE,
    NOT_A_NUMBER,
    SYNTAX,
)

_PLACE = re.compile(r"(?P<line>\d+):(?P<column>\d+) : (?P<rest>.*)", re.DOTALL)
_FIELD = re.compile(r'Message type "inference\.([\w.]+)" has no field named "([^"]*)"')
_VALUE = re.compile(r'Enum type "inference\.([\w.]+)" has no value named (\S+?)\.*$')
_ONEOF = re.compile(r'Field "(\w+)" is specified along with field "(\w+)", another member of oneof')
_MULTIPLE = re.compile(r'should not have multiple "(\w+)" fields')
_EXPECTED = re.compile(r'Expected "(.)"')
_INTEGER = re.compile(r"(?:Couldn't parse integer|Value out of range): (\S+?)\.*$")
_TEMPLATE = re.compile(r"\$\{?\w*")
# What people write for Triton's word; difflib finds the rest.
_TYPES = {"TYPE_BYTES": "TYPE_STRING", "BYTES": "TYPE_STRING", "TYPE_FLOAT": "TYPE_FP32"}


def explain(repository: RepositoryFolder, model: str, config: ConfigFile) -> LintFinding:
    """Return the finding for a config that could not be parsed."""
    match = _PLACE.search(config.error)
    line, message = (int(match["line"]), match["rest"]) if match else (0, config.error)
    lines = config.text.splitlines()
    blamed = lines[line - 1].partition("#")[0] if 0 < line <= len(lines) else ""
    rule, problem, hint = _diagnose(message, blamed)
    return found_in(repository, model, rule, problem, path=config.path, line=line, hint=hint)


def _diagnose(message: str, blamed: str) -> tuple[Rule, str, str]:
    template = _TEMPLATE.search(blamed)
    if template:
        return PLACEHOLDER, f"'{template[0].rstrip('{')}...' is a placeholder: {blamed.strip()}", ""
    if _about_a_parameter(message, blamed):
        return PARAMETER, "a parameter is given as something else than a string_value", ""
    for pattern, diagnose in (
        (_FIELD, _unknown_field),
        (_VALUE, _unknown_value),
        (_ONEOF, _excluded),
        (_MULTIPLE, lambda match: (TWICE, f"'{match[1]}' is given twice", "")),
        (_EXPECTED, lambda match: _punctuation(match[1], blamed)),
        (_INTEGER, lambda match: _not_a_number(match[1])),
    ):
        match = pattern.search(message)
        if match:
            return diagnose(match)
    return _other(message, blamed)


def _about_a_parameter(message: str, blamed: str) -> bool:
    if '"inference.ModelParameter"' in message:
        return True
    if re.search(r"\bstring_value\b", blamed) and "Expected string" in message:
        return True
    # A bare value in a key-value pair: of a map whose values are messages, not strings.
    bare = re.search(r"""\bvalue\s*:?\s*["'\d]""", blamed) and 'Expected "{"' in message
    return bool(bare)


def _unknown_field(match: re.Match[str]) -> tuple[Rule, str, str]:
    owner, name = match[1], match[2]
    if name.isdigit():
        return PUNCTUATION, f"the list that {name} belongs to has no brackets", "write [ 1, 2 ]"
    descriptor = _message(owner)
    known = [field.name for field in descriptor.fields] if descriptor else []
    place = "" if owner == "ModelConfig" else f" in {owner}"
    # The same name elsewhere says more than a similar name here.
    owners = sorted(o for o in _messages() if name in {f.name for f in _message(o).fields})
    near = nearest(name, known)
    hint = f"did you mean '{near}'?" if near else ""
    if owners:
        hint = f"'{name}' belongs into {' or '.join(owners)}"
    return UNKNOWN_FIELD, f"there is no field '{name}'{place}", hint


def _unknown_value(match: re.Match[str]) -> tuple[Rule, str, str]:
    enum, word = match[1], match[2]
    known = _values(enum)
    bare = word.strip("\"'")
    if bare != word and bare in known:
        return UNKNOWN_VALUE, f"{word} stands in quotes", f"write {bare}"
    near = _TYPES.get(bare) or (f"TYPE_{bare}" if f"TYPE_{bare}" in known else "")
    near = near or nearest(bare, known)
    kind = enum.rpartition(".")[2]
    hint = f"did you mean {near}?" if near else f"it may be {', '.join(known)}"
    return UNKNOWN_VALUE, f"'{bare}' is no {kind}", hint


def _excluded(match: re.Match[str]) -> tuple[Rule, str, str]:
    names = {match[1], match[2]}
    rule = TWO_SCHEDULERS if names & {"dynamic_batching", "sequence_batching"} else TWICE
    return rule, f"'{match[2]}' and '{match[1]}' exclude each other", ""


def _punctuation(expected: str, blamed: str) -> tuple[Rule, str, str]:
    if expected == "{" and blamed.strip().startswith("]"):
        return PUNCTUATION, "a comma stands after the last entry of a list", "remove the comma"
    what = {",": "a comma", ":": "a colon"}.get(expected, f"a bracket '{expected}'")
    where = f" before: {blamed.strip()}" if blamed.strip() else ""
    return PUNCTUATION, f"{what} is missing{where}", ""


def _not_a_number(found: str) -> tuple[Rule, str, str]:
    if found == "]":
        return PUNCTUATION, "a comma stands after the last number of a list", "remove the comma"
    return NOT_A_NUMBER, f"{found} is not a whole number that fits here", ""


def _other(message: str, blamed: str) -> tuple[Rule, str, str]:
    if blamed.startswith("\ufeff"):
        return SYNTAX, "the file begins with a byte order mark", "save it as UTF-8 without one"
    if blamed.strip().startswith(("//", "/*")):
        return SYNTAX, f"this is no comment: {blamed.strip()}", "comments begin with #"
    words = message.rpartition("': ")[2].strip().rstrip(".")
    got = re.search(r"got ([\]})>])", words)
    if got:
        return PUNCTUATION, f"a bracket '{got[1]}' is too many, or another closes too early", ""
    if words.startswith("Expected identifier or number, got {"):
        return PUNCTUATION, "a bracket opens where the name of a field is wanted", ""
    return SYNTAX, words[:1].lower() + words[1:], ""


def _messages() -> dict[str, Any]:
    found: dict[str, Any] = {}
    queue = list(model_config_pb2.DESCRIPTOR.message_types_by_name.values())
    while queue:
        descriptor = queue.pop()
        if not descriptor.GetOptions().map_entry:
            found[descriptor.full_name.removeprefix("inference.")] = descriptor
        queue.extend(descriptor.nested_types)
    return found


def _message(name: str) -> Any:
    return _messages().get(name)


def _values(enum: str) -> list[str]:
    owner, _, name = enum.rpartition(".")
    scope = _message(owner) if owner else model_config_pb2.DESCRIPTOR
    return [value.name for value in scope.enum_types_by_name[name].values]
