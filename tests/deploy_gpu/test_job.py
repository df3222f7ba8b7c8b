"""The Kubernetes Job, and the README's lines that do the same."""

import re
import shlex
import subprocess
from typing import Any

import pytest
import yaml

from tests.conftest import ROOT
from tests.deploy_gpu.command_lines import verb_of

README = ROOT / "deploy" / "gpu" / "README.md"
JOB: Any = yaml.safe_load((ROOT / "deploy" / "k8s" / "engine-build-job.yaml").read_text("utf-8"))
POD: Any = JOB["spec"]["template"]["spec"]
(CONTAINER,) = POD["containers"]


def lines() -> list[list[str]]:
    """The command lines of the README, in words."""
    blocks = re.findall(r"^```sh\n(.*?)^```$", README.read_text("utf-8"), re.M | re.S)
    text = "".join(blocks).replace("\\\n", " ")
    return [shlex.split(line) for line in text.splitlines()]


def line_with(word: str) -> list[str]:
    (found,) = [words for words in lines() if word in words]
    return found


def test_it_is_a_job_in_a_namespace() -> None:
    assert (JOB["apiVersion"], JOB["kind"]) == ("batch/v1", "Job")
    assert JOB["metadata"]["namespace"]
    assert JOB["metadata"]["name"] == "clickclean-engine-build"


def test_it_ends_and_goes_by_itself() -> None:
    spec = JOB["spec"]
    assert POD["restartPolicy"] == "Never"
    assert spec["backoffLimit"] <= 2
    assert spec["activeDeadlineSeconds"] > 0
    assert spec["ttlSecondsAfterFinished"] > 0


def test_a_refusal_is_not_tried_again() -> None:
    rules = JOB["spec"]["podFailurePolicy"]["rules"]
    (refusal,) = [rule for rule in rules if rule["action"] == "FailJob"]
    assert refusal["onExitCodes"] == {
        "containerName": CONTAINER["name"],
        "operator": "In",
        "values": [2, 3, 4],
    }


def test_it_gets_one_gpu_and_bounds() -> None:
    resources = CONTAINER["resources"]
    assert resources["limits"]["nvidia.com/gpu"] == resources["requests"]["nvidia.com/gpu"] == 1
    assert {"cpu", "memory"} <= set(resources["requests"])
    assert "memory" in resources["limits"]


def test_the_gpu_type_is_a_line_to_uncomment() -> None:
    text = (ROOT / "deploy" / "k8s" / "engine-build-job.yaml").read_text("utf-8")
    uncommented = text.replace("# nodeSelector:", "nodeSelector:").replace(
        "#   nvidia.com/gpu.product:", "  nvidia.com/gpu.product:"
    )
    pod: Any = yaml.safe_load(uncommented)["spec"]["template"]["spec"]
    assert pod["nodeSelector"] == {"nvidia.com/gpu.product": "NVIDIA-L4"}
    assert "nodeSelector" not in POD


def test_it_has_no_rights() -> None:
    assert POD["automountServiceAccountToken"] is False
    assert POD["securityContext"]["runAsNonRoot"] is True
    assert POD["securityContext"]["runAsUser"] == 1000
    assert POD["securityContext"]["fsGroup"] == 1000
    assert POD["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}
    assert CONTAINER["securityContext"] == {
        "allowPrivilegeEscalation": False,
        "readOnlyRootFilesystem": True,
        "capabilities": {"drop": ["ALL"]},
    }


def test_it_writes_into_volumes_only() -> None:
    mounts = {mount["name"]: mount["mountPath"] for mount in CONTAINER["volumeMounts"]}
    assert mounts == {name: f"/{name}" for name in ("models", "cache", "tmp")}
    assert {volume["name"] for volume in POD["volumes"]} == set(mounts)
    assert not any(mount.get("readOnly") for mount in CONTAINER["volumeMounts"])


def test_its_command_is_ours_and_the_images_entrypoint_stays() -> None:
    assert "command" not in CONTAINER
    assert verb_of(CONTAINER["args"]) == "engine build"
    assert {"--repository=/models", "--cache=/cache"} <= set(CONTAINER["args"])


def test_its_recipe_is_in_the_image() -> None:
    (recipe,) = [word for word in CONTAINER["args"] if word.startswith("--recipe=")]
    inside = recipe.removeprefix("--recipe=/opt/clickclean/")
    assert (ROOT / inside).is_file()


def test_its_image_is_to_be_named_by_its_user() -> None:
    assert CONTAINER["image"] == "registry.example.com/clickclean-triton:YOUR-TAG"


def test_the_readmes_line_does_what_the_job_does() -> None:
    words = line_with("--recipe=/opt/clickclean/examples/digits/recipe.toml")
    assert words[:2] == ["docker", "run"]
    assert words[words.index("clickclean-triton:YOUR-TAG") + 1 :] == CONTAINER["args"]
    targets = [word.partition("target=")[2] for word in words if word.startswith("type=bind")]
    assert targets == ["/models", "/cache"]


@pytest.mark.parametrize("words", lines(), ids=lambda words: " ".join(words[:2]))
def test_what_the_readme_lets_people_type(words: list[str]) -> None:
    if words[0] == "bash":
        assert (ROOT / words[1]).is_file()
    elif words[0] == "set":
        assert words == ["set", "-a", "&&", ".", "deploy/versions.env", "&&", "set", "+a"]
    else:
        assert words[:2] in (["docker", "run"], ["docker", "build"])
        assert "--privileged" not in words


def test_the_readmes_containers_are_bounded_like_the_job() -> None:
    runs = [words for words in lines() if words[:2] == ["docker", "run"]]
    assert len(runs) == 2
    for words in runs:
        assert {"--rm", "--init", "--read-only", "no-new-privileges"} <= set(words)
        assert words[words.index("--cap-drop") + 1] == "ALL"
        published = [words[i + 1] for i, word in enumerate(words) if word == "-p"]
        assert all(port.startswith("127.0.0.1:") for port in published)


def test_the_readmes_lines_are_shell() -> None:
    text = "\n".join(re.findall(r"^```sh\n(.*?)^```$", README.read_text("utf-8"), re.M | re.S))
    done = subprocess.run(
        ["/bin/bash", "-n"], input=text.encode(), capture_output=True, check=False
    )
    assert (done.returncode, done.stderr) == (0, b"")
