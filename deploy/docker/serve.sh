#!/usr/bin/env bash
# Serves models of the GPU fleet, in the image of deploy/docker/Dockerfile. NOT TESTED on a GPU.
set -euo pipefail

usage() {
  cat <<'TEXT'
Usage: clickclean-serve MODEL... [-- TRITONSERVER-OPTION...]

Starts tritonserver with the promoted versions of the models, unless a plan does not fit
this GPU and this TensorRT: then it ends with exit code 4 and says why.

Environment:
  CLICKCLEAN_REPOSITORY          The model repository. Default: /models
  CLICKCLEAN_VERSION_COMPATIBLE  1: load plans of other TensorRT versions too. They were built with
                                 engine.version_compatible, and hold code that the server runs.
  CLICKCLEAN_ADMIN_KEY           Who sends it may load and unload models: in the HTTP header
                                 admin-key or the gRPC header triton-grpc-protocol-admin-key.
                                 Default: a random one that nobody knows.
TEXT
}

models=()
options=()
while (($#)); do
  case $1 in
    -h | --help)
      usage
      exit 0
      ;;
    --)
      shift
      options=("$@")
      break
      ;;
    -*)
      echo "error: unknown option '$1'" >&2
      echo "hint: options for tritonserver come after --" >&2
      exit 2
      ;;
    *)
      models+=("$1")
      shift
      ;;
  esac
done
if ((${#models[@]} == 0)); then
  echo "error: no model is named" >&2
  echo "hint: clickclean-serve MODEL..." >&2
  exit 2
fi

repository=${CLICKCLEAN_REPOSITORY:-/models}
preflight=(clickclean engine preflight "${models[@]}" "--repository=$repository")
arguments=(
  "--model-repository=$repository"
  --model-control-mode=explicit
  "${models[@]/#/--load-model=}"
  # Costs time at every load, and a config that was generated is complete.
  --disable-auto-complete-config
  # With it a failed hot load makes the whole server "not ready" until a restart.
  --strict-readiness=false
)
# Loading by anybody would mean running code by anybody: a load request can bring its own files.
key=${CLICKCLEAN_ADMIN_KEY:-$(od -An -N16 -tx1 /dev/urandom | tr -d ' \n')}
restricted=model-repository,shared-memory,logging,trace
arguments+=(
  "--http-restricted-api=$restricted:admin-key=$key"
  "--grpc-restricted-protocol=$restricted:admin-key=$key"
)
if [[ ${CLICKCLEAN_VERSION_COMPATIBLE:-} == 1 ]]; then
  preflight+=(--version-compatible)
  arguments+=("--backend-config=tensorrt,version-compatible=true")
fi

# tritonserver itself would say no more than that it cannot create an engine.
"${preflight[@]}" && exec tritonserver "${arguments[@]}" "${options[@]}"
