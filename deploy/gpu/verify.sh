#!/usr/bin/env bash
# One command for the owner of an NVIDIA GPU: build the image, run the whole chain in it, write the
# figures. NOT TESTED: it was never run on a machine with a GPU or a Docker daemon (README.md here).
set -euo pipefail

here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
root=$(dirname "$(dirname "$here")")
container=clickclean-gpu-verify-$$
# Seconds. A stuck download, build or run ends; on a slow line set them in the environment.
pull_limit=${VERIFY_PULL_LIMIT:-3600}
build_limit=${VERIFY_BUILD_LIMIT:-3600}
run_limit=${VERIFY_RUN_LIMIT:-5400}

gpu=0
out=
image=
torch_index_url=
dry_run=
pass_on=()

usage() {
  cat <<'TEXT'
Usage: deploy/gpu/verify.sh [OPTIONS] [-- VERIFY.PY-OPTIONS]

Builds the image, then, in a container without network: trains and publishes examples/digits,
compiles its TensorRT plan, serves it with Triton, load-tests it, and runs the same plan in
trtexec. Writes results.json and results.md. Needs Docker and the NVIDIA Container Toolkit.

Options:
  --gpu N                Which GPU, as nvidia-smi counts.  [default: 0]
  --out DIR              Folder for results, logs and plans.
                         [default: build/gpu-verify/DATE-TIME]
  --image NAME           Use this built image instead of building one.
  --torch-index-url URL  Where pip finds PyTorch; its CPU index makes the image several GB smaller.
  --dry-run              Print the commands and end.
  --help                 Show this message and exit.

After --, for instance: -- --rate 200 --duration-s 60

Exit codes: 0 everything passed, 1 a step failed, 2 usage, 3 a gate refused, 4 Docker, toolkit,
GPU or TensorRT do not fit, 10 to 12 the load test's verdict. Results are there in any case once
the container has started.
TEXT
}

fail() { # CODE SENTENCE HINT
  echo "error: $2" >&2
  echo "hint: $3" >&2
  exit "$1"
}

need() { # OPTION COUNT-OF-WORDS-LEFT
  (($2 >= 2)) || fail 2 "$1 needs a value" "deploy/gpu/verify.sh --help"
}

while (($#)); do
  case $1 in
    --gpu) need "$1" $#; gpu=$2; shift 2 ;;
    --out) need "$1" $#; out=$2; shift 2 ;;
    --image) need "$1" $#; image=$2; shift 2 ;;
    --torch-index-url) need "$1" $#; torch_index_url=$2; shift 2 ;;
    --dry-run) dry_run=1; shift ;;
    -h | --help) usage; exit 0 ;;
    --) shift; pass_on=("$@"); break ;;
    *) fail 2 "unknown option '$1'" "deploy/gpu/verify.sh --help" ;;
  esac
done

# shellcheck source-path=SCRIPTDIR source=../versions.env
source "$root/deploy/versions.env"
base=$TRITON_IMAGE:$TRITON_TAG
out=${out:-$root/build/gpu-verify/$(date -u +%Y%m%d-%H%M%S)}
[[ $out == /* ]] || out=$PWD/$out

# Runs a command under a limit; in the background, so that Ctrl-C and TERM are heard at once.
limited() { # SECONDS COMMAND...
  if [[ $dry_run ]]; then
    shift
    printf '%q ' "$@"
    echo
    return
  fi
  local code=0
  timeout --kill-after=60 "$@" < /dev/null &
  job=$!
  wait "$job" || code=$?
  job=
  ((code != 124)) || echo "error: more than $1 s: ${*:2:3} ..." >&2
  return "$code"
}

# No container stays behind. One that still runs is asked first, so that it writes its results.
# shellcheck disable=SC2329 # the trap below calls it
leave_nothing() {
  if [[ $started ]]; then
    docker stop -t 45 "$container" > /dev/null 2>&1 || true
    docker rm --force "$container" > /dev/null 2>&1 || true
  fi
  [[ -z $job ]] || kill "$job" 2> /dev/null || true
}
started=
job=
trap leave_nothing EXIT
trap 'exit 130' INT
trap 'exit 143' TERM

if [[ -z $dry_run ]]; then
  command -v docker > /dev/null ||
    fail 4 "docker is not installed" "install Docker Engine: https://docs.docker.com/engine/install/"
  docker info > /dev/null 2>&1 ||
    fail 4 "docker does not answer" "is its daemon running, and may this user use it? Try: docker info"
  docker image inspect "$base" > /dev/null 2>&1 || limited "$pull_limit" docker pull "$base" ||
    fail 1 "the image $base cannot be had" "is nvcr.io reachable from here? Try: docker pull $base"
else
  limited "$pull_limit" docker pull "$base"
fi

[[ $dry_run ]] || started=1
limited 300 docker run --rm --name "$container" --gpus "device=$gpu" --network none "$base" \
  nvidia-smi || fail 4 "a container cannot use GPU $gpu" \
  "install the NVIDIA Container Toolkit: https://docs.nvidia.com/datacenter/cloud-native/container-toolkit/"

if [[ -z $image ]]; then
  image=clickclean-triton:verify
  limited "$build_limit" env DOCKER_BUILDKIT=1 docker build --file "$root/deploy/docker/Dockerfile" \
    --build-arg "TRITON_IMAGE=$TRITON_IMAGE" --build-arg "TRITON_TAG=$TRITON_TAG" \
    --build-arg "TORCH_INDEX_URL=$torch_index_url" --tag "$image" "$root" ||
    fail 1 "the image cannot be built" "the lines above say why; see deploy/docker/Dockerfile"
fi

digest=DIGEST
image_id=IMAGE-ID
if [[ -z $dry_run ]]; then
  mkdir -p "$out"
  digest=$(docker image inspect --format '{{join .RepoDigests " "}}' "$base" 2> /dev/null || true)
  image_id=$(docker image inspect --format '{{.Id}}' "$image" 2> /dev/null) ||
    fail 1 "there is no image $image" "leave --image out to build one"
fi

# As tight as the Kubernetes Job, and without network; files in DIR belong to the caller.
run=(
  docker run --rm --init --name "$container" --gpus "device=$gpu" --network none
  --read-only --tmpfs "/tmp:rw,exec,nosuid,nodev,size=8g" --user "$(id -u):$(id -g)"
  --cap-drop ALL --security-opt no-new-privileges
  --mount "type=bind,source=$out,target=/out"
  --env "VERIFY_BASE_IMAGE=$base" --env "VERIFY_BASE_DIGEST=$digest"
  --env "VERIFY_IMAGE_ID=$image_id"
  "$image" /opt/clickclean/venv/bin/python /opt/clickclean/gpu/verify.py --out /out
)
code=0
limited "$run_limit" "${run[@]}" "${pass_on[@]}" || code=$?
if [[ $dry_run ]]; then
  exit 0
fi
case $code in
  0 | 1 | 2 | 3 | 4 | 10 | 11 | 12) ;;
  *)
    echo "error: the container ended with exit code $code" >&2
    code=1
    ;;
esac
[[ ! -e $out/results.md ]] || echo "results: $out/results.md" >&2
exit "$code"
