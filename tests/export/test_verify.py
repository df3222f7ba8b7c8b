"""A version is what was published, or it is refused by the name of a file."""

import hashlib
import json
import os
from collections.abc import Callable
from pathlib import Path

import pytest

from clickclean_export.engine.record import RECORD
from clickclean_export.errors import GateRefused, IntegrityError, VersionNotFoundError
from clickclean_export.manifest import ENGINES, MANIFEST, SIGNATURE, file_record, fingerprint
from clickclean_export.repository import Repository
from clickclean_export.signing.errors import KeyFileError, SignatureError
from clickclean_export.signing.keys import KeyPair, generate_key
from clickclean_export.signing.signature import sign_version
from clickclean_export.verify import verify_version
from tests.export.bare_version import MODEL, NAMES, bare_plan, bare_version, rewrite


@pytest.fixture
def repository(tmp_path: Path) -> Repository:
    bare_version(tmp_path / "repository")
    return Repository(tmp_path / "repository")


@pytest.fixture
def version(repository: Repository) -> Path:
    return repository.version_dir(MODEL, 1)


@pytest.fixture
def key(tmp_path: Path) -> KeyPair:
    return generate_key(tmp_path / "release.key")


def test_what_was_published_is_proven(repository: Repository, version: Path, key: KeyPair) -> None:
    verified = verify_version(repository, MODEL, 1)
    assert (verified.model, verified.version) == (MODEL, 1)
    assert verified.files == tuple(sorted([*NAMES, MANIFEST]))
    assert verified.signed_by is None
    content = (version / MANIFEST).read_bytes()
    assert verified.fingerprint == fingerprint(version) == hashlib.sha256(content).hexdigest()
    record = bare_plan(version)
    sign_version(version, key.private)
    signed = verify_version(repository, MODEL, 1, trusted=[key.public], strict=True)
    assert signed.signed_by == key.key_id
    assert signed.files == tuple(sorted([*verified.files, record.path_in_version]))
    assert signed.fingerprint == verified.fingerprint
    with pytest.raises(VersionNotFoundError):
        verify_version(repository, MODEL, 2)


def altered(name: str) -> Callable[[Path], None]:
    return lambda version: rewrite(version / name, (version / name).read_bytes()[:-1] + b"!")


def gone(name: str) -> Callable[[Path], None]:
    return lambda version: (version / name).unlink()


def stranger(name: str) -> Callable[[Path], None]:
    return lambda version: rewritten(version / name)


def rewritten(path: Path) -> None:
    path.parent.mkdir(exist_ok=True)
    path.write_text("x")


def linked_out(version: Path) -> None:
    """The same bytes, from a place that nobody watches."""
    outside = version.parent.parent / "outside"
    (version / "model.onnx").rename(outside)
    (version / "model.onnx").symlink_to(outside)


def linked_folder(version: Path) -> None:
    (version / ENGINES).symlink_to(version.parent)


def pipe(version: Path) -> None:
    (version / "golden.npz").unlink()
    os.mkfifo(version / "golden.npz")


def upwards(version: Path) -> None:
    """A manifest that claims a file elsewhere."""
    outside = version.parent / "outside"
    outside.write_text("x")
    tree = json.loads((version / MANIFEST).read_bytes())
    record = file_record(outside)
    tree["files"]["../outside"] = {"sha256": record.sha256, "size_bytes": record.size_bytes}
    rewrite(version / MANIFEST, json.dumps(tree).encode())


def without_model(version: Path) -> None:
    tree = json.loads((version / MANIFEST).read_bytes())
    del tree["files"]["model.onnx"]
    rewrite(version / MANIFEST, json.dumps(tree).encode())
    (version / "model.onnx").unlink()


def of_another_model(version: Path) -> None:
    tree = json.loads((version / MANIFEST).read_bytes())
    rewrite(version / MANIFEST, json.dumps({**tree, "model": "other"}).encode())


def bad_recipe(version: Path) -> None:
    tree = json.loads((version / MANIFEST).read_bytes())
    tree["recipe"]["serving"]["max_batch"] = 0
    rewrite(version / MANIFEST, json.dumps(tree).encode())


SPOILT: dict[str, tuple[Callable[[Path], None], str, str]] = {
    **{f"altered {name}": (altered(name), name, "SHA-256 differs") for name in NAMES},
    **{f"gone {name}": (gone(name), name, "is missing") for name in (*NAMES, MANIFEST)},
    "a broken manifest": (altered(MANIFEST), MANIFEST, "is not a manifest"),
    "code": (stranger("model.py"), "model.py", "was not published"),
    "hidden": (stranger(".model.onnx"), ".model.onnx", "was not published"),
    "cached code": (stranger("__pycache__/x.pyc"), "__pycache__", "was not published"),
    "a folder as a file": (stranger("data/x"), "data", "was not published"),
    "linked out": (linked_out, "model.onnx", "symbolic link"),
    "linked folder": (linked_folder, ENGINES, "symbolic link"),
    "a pipe": (pipe, "golden.npz", "was not published"),
    "upwards": (upwards, "outside", "is missing"),
    "without a model": (without_model, MANIFEST, "lists no model.onnx"),
    "another model": (of_another_model, MANIFEST, "is of model 'other'"),
    "a bad recipe": (bad_recipe, MANIFEST, "serving.max_batch"),
    "a file in engines": (stranger("engines/x.plan"), "x.plan", "was not registered"),
    "hidden in engines": (stranger("engines/.x"), ".x", "was not registered"),
}


@pytest.mark.parametrize("what", SPOILT)
def test_what_is_spoilt_is_refused_by_name(
    what: str, repository: Repository, version: Path
) -> None:
    spoil, name, words = SPOILT[what]
    spoil(version)
    with pytest.raises(IntegrityError) as caught:
        verify_version(repository, MODEL, 1)
    assert caught.value.path.name == name
    assert words in str(caught.value)
    assert caught.value.exit_code == 3


def test_a_version_under_another_number(tmp_path: Path) -> None:
    bare_version(tmp_path, 2, says=1)
    repository = Repository(tmp_path)
    with pytest.raises(IntegrityError, match="is of version 1, not of 2"):
        verify_version(repository, MODEL, 2)
    assert verify_version(repository, MODEL, 2, numbered=False).version == 2


def test_a_recorded_failure_is_refused(repository: Repository, version: Path) -> None:
    tree = json.loads((version / MANIFEST).read_bytes())
    tree["hops"][0]["gates"][0] |= {"outcome": "fail", "value": 0.9}
    rewrite(version / MANIFEST, json.dumps(tree).encode())
    with pytest.raises(GateRefused, match=r"int8 onnx.*90\.00%") as caught:
        verify_version(repository, MODEL, 1)
    assert caught.value.exit_code == 3


def test_a_builder_at_work_is_no_stranger(repository: Repository, version: Path) -> None:
    (version / ENGINES / ".staging-abc" / "8.9").mkdir(parents=True)
    (version / ENGINES / ".lock").touch()
    assert verify_version(repository, MODEL, 1).unreadable == ()


def other_onnx(plan: Path) -> None:
    tree = json.loads((plan.parent / RECORD).read_bytes())
    tree["inputs"]["onnx_sha256"] = "0" * 64
    rewrite(plan.parent / RECORD, json.dumps(tree).encode())


def other_version(plan: Path) -> None:
    tree = json.loads((plan.parent / RECORD).read_bytes())
    rewrite(plan.parent / RECORD, json.dumps({**tree, "version": 7}).encode())


def renamed(plan: Path) -> None:
    plan.parent.rename(plan.parent.with_name("8.9-other"))


PLANS: dict[str, tuple[Callable[[Path], object], str, str]] = {
    "altered": (lambda plan: rewrite(plan, b"x"), "model.8.9.plan", "SHA-256 differs"),
    "gone": (lambda plan: plan.unlink(), "model.8.9.plan", "is missing"),
    "stranger": (lambda plan: rewritten(plan.parent / "x"), "x", "was not registered"),
    "from another model": (other_onnx, RECORD, "another model.onnx"),
    "of another version": (other_version, RECORD, "version 7"),
    "renamed": (renamed, "model.8.9.plan", "is missing"),
}


@pytest.mark.parametrize("what", PLANS)
def test_a_spoilt_plan_is_refused_by_name(what: str, repository: Repository, version: Path) -> None:
    spoil, name, words = PLANS[what]
    spoil(version / bare_plan(version).path_in_version)
    with pytest.raises(IntegrityError) as caught:
        verify_version(repository, MODEL, 1)
    assert caught.value.path.name == name
    assert words in str(caught.value)
    assert "engine build" in caught.value.hint


def test_an_unreadable_record_counts_as_none_unless_asked(
    repository: Repository, version: Path
) -> None:
    plan = version / bare_plan(version).path_in_version
    rewrite(plan.parent / RECORD, b"{")
    verified = verify_version(repository, MODEL, 1)
    assert len(verified.unreadable) == 1
    assert RECORD in verified.unreadable[0]
    assert not any(name.startswith(ENGINES) for name in verified.files)
    with pytest.raises(IntegrityError, match="is not an engine record"):
        verify_version(repository, MODEL, 1, strict=True)


def test_a_signature_is_demanded_of_version_and_plans(
    repository: Repository, version: Path, key: KeyPair, tmp_path: Path
) -> None:
    trusted = [key.public]
    with pytest.raises(SignatureError, match=r"1/model\.sig: is missing"):
        verify_version(repository, MODEL, 1, trusted=trusted)
    sign_version(version, key.private)
    assert verify_version(repository, MODEL, 1, trusted=trusted).signed_by == key.key_id
    plan = version / bare_plan(version).path_in_version
    with pytest.raises(SignatureError) as caught:
        verify_version(repository, MODEL, 1, trusted=trusted)
    assert caught.value.path == plan.parent / SIGNATURE
    sign_version(version, key.private)
    verify_version(repository, MODEL, 1, trusted=trusted)
    with pytest.raises(SignatureError, match="not trusted"):
        verify_version(repository, MODEL, 1, trusted=[generate_key(tmp_path / "other").public])


def test_a_manifest_that_was_made_to_fit_is_not_what_was_signed(
    repository: Repository, version: Path, key: KeyPair
) -> None:
    sign_version(version, key.private)
    rewrite(version / "model.onnx", b"mine")
    tree = json.loads((version / MANIFEST).read_bytes())
    record = file_record(version / "model.onnx")
    tree["files"]["model.onnx"] = {"sha256": record.sha256, "size_bytes": record.size_bytes}
    rewrite(version / MANIFEST, json.dumps(tree).encode())
    verify_version(repository, MODEL, 1)
    with pytest.raises(SignatureError, match=r"manifest\.json: is not what was signed"):
        verify_version(repository, MODEL, 1, trusted=[key.public])


def test_a_signed_version_under_another_number_is_refused(
    repository: Repository, version: Path, key: KeyPair
) -> None:
    """A copy of an old version under a high number would go back unnoticed."""
    sign_version(version, key.private)
    version.rename(version.with_name("9"))
    with pytest.raises(IntegrityError, match="is of version 1, not of 9"):
        verify_version(repository, MODEL, 9, trusted=[key.public])


def test_trusted_keys_do_not_live_in_the_repository(
    repository: Repository, version: Path, key: KeyPair
) -> None:
    inside = repository.root / "trusted.pub"
    inside.write_bytes(key.public.read_bytes())
    sign_version(version, key.private)
    with pytest.raises(KeyFileError, match="lies in the model repository"):
        verify_version(repository, MODEL, 1, trusted=[inside])
