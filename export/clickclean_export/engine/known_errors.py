"""Known complaints of TensorRT and of Triton's TensorRT backend: text, cause, remedy, source.

Which number of a message belongs to the plan and which to what runs it was taken from sources:

- ``expecting compute X got compute Y``: X is this GPU's, Y the plan's (NVIDIA/TensorRT#3130, a
  maintainer on a T4; NVIDIA/TensorRT#2177, which shows the GPU; NVIDIA/TensorRT-LLM#222, a plan of
  an A100 on an A10: "8.6 got 8.0").
- ``expecting library version A got B``: A runs, B built (pytorch/TensorRT#1059: tritonserver 22.04,
  which has 8.2.4, with a plan of 8.2.3: "8.2.4 got 8.2.3").
- ``incompatible serialization version (A != B)``: A is the number that the file's first four bytes
  make, B the one that the library expects (ultralytics#22910). 1953657958 is "ftrt", TensorRT's;
  1953657974 is "vtrt", with which plans of TensorRT-RTX begin (read from one of 1.7.1).
- ``unexpected datatype X ..., expecting Y``: X is the plan's, Y the config's (tensorrt_backend,
  src/instance_state.cc, "InitializeExecuteInputBinding": ``dt`` and ``config_dt``).

Where ``preflight_rules`` or ``lint_qdq`` find the same before a server does, the code is theirs.
"""

from dataclasses import dataclass

_ISSUES = "https://github.com/NVIDIA/TensorRT/issues"
_TRITON = "https://github.com/triton-inference-server/server/issues"
_BACKEND = "https://github.com/triton-inference-server/tensorrt_backend/blob/main/src"

_BUILD = "clickclean engine build MODEL:VERSION"
_CHECK = "clickclean engine check MODEL:VERSION"
_PREFLIGHT = "clickclean engine preflight MODEL"
_PROMOTE = "clickclean promote MODEL VERSION"
_REBUILD = f"on the GPU and in the image that serve: {_BUILD}, then {_PROMOTE}"
_REPUBLISH = f"clickclean publish RECIPE, {_BUILD} and {_PROMOTE}"
_CUDA = r"C(?:UDA|uda) initialization failure with error:?"
_WIDEN = f"widen [engine] profiles in the recipe, then {_REPUBLISH}"


@dataclass(frozen=True)
class KnownError:
    """One text that a log may hold.

    Attributes:
        code: Stable kebab-case name.
        pattern: Regular expression over the log without colours; a match may span lines.
        cause: What is wrong; ``{name}`` stands for what the pattern's group of that name matched.
        remedy: What to do about it, likewise.
        source: Where the text is seen: an issue, or the file that prints it.
    """

    code: str
    pattern: str
    cause: str
    remedy: str
    source: str


_LOADING = (
    KnownError(
        "other-compute-capability",
        r"generated on an incompatible device[,.] expecting compute (?P<running>\d+\.\d+)"
        r" got compute (?P<plan>\d+\.\d+)",
        "the plan was built on a GPU of compute capability {plan}; this GPU has {running}",
        "on a machine with this GPU (compute capability {running}):"
        f" {_BUILD}, then {_PROMOTE}; Triton picks the plan by compute capability",
        f"{_ISSUES}/2177",
    ),
    KnownError(
        "other-tensorrt",
        r"not compatible with this version of TensorRT, expecting library version"
        r" (?P<running>[\d.]*\d) got (?P<plan>(?:[\d.]*\d)?)",
        "the plan was built by TensorRT {plan}; the library that loads it is {running}",
        f"build it in the image that serves (TensorRT {{running}}): {_BUILD}, then {_PROMOTE}",
        "https://github.com/pytorch/TensorRT/issues/1059",
    ),
    KnownError(
        "other-plan-format",
        r"(?:VersionRead == \w+ failed\W*)?Version tag does not match(?:\. Note: Current Version:"
        r" (?P<running>\d+), Serialized Engine Version: (?P<plan>\d+))?|VersionRead == \w+ failed",
        "the plan was written by another version of TensorRT: its format has the number {plan},"
        " that of the library that loads it {running} (these count formats, they are no versions)",
        f"{_PREFLIGHT} names both versions; {_REBUILD}",
        f"{_TRITON}/7613",
    ),
    KnownError(
        "plan-of-tensorrt-rtx",
        r"incompatible serialization version \(1953657974 != (?!1953657974\b)\d+\)",
        "the plan was built by TensorRT-RTX, and Triton's backend is TensorRT's; a check without a"
        " GPU compiles with TensorRT-RTX, but what that makes is not for serving",
        _REBUILD,
        "https://github.com/ultralytics/ultralytics/issues/22910",
    ),
    KnownError(
        "other-platform",
        r"Platform specific tag mismatch detected",
        "the plan was built for another operating system or processor",
        _REBUILD,
        "https://github.com/pytorch/TensorRT/pull/3090",
    ),
    KnownError(
        "not-a-plan",
        r"[mM]agicTag\w* == [\w:]+ failed|Magic tag does not match"
        # As TensorRT-RTX 1.7.1 words a plan that is cut off, and one of a few bytes.
        r"|plan\.header\.size == blobSize failed|bufferSize >= minBufferSize failed",
        "the file does not begin as this TensorRT's plans do: it is something else (an ONNX file, a"
        " Git LFS pointer, an export with its own header), it is cut off or damaged, or a distant"
        " version of TensorRT wrote it",
        f"{_PREFLIGHT} compares the file with its record; where it differs, {_REBUILD}",
        f"{_ISSUES}/2915",
    ),
    KnownError(
        "version-compatible-off",
        r"Cannot deserialize engine with lean runtime since"
        r" IRuntime::getEngineHostCodeAllowed\(\) is false",
        "the plan is version-compatible: it carries a runtime, which is code, and the server was"
        " not told to run code from plans",
        "where you trust the plans, start Triton with"
        " --backend-config=tensorrt,version-compatible=true; otherwise [engine] version_compatible"
        f" = false in the recipe, then {_REPUBLISH}",
        f"{_TRITON}/6129",
    ),
    KnownError(
        "plugin-missing",
        r"getPluginCreator could not find plugin:? (?P<plugin>\S+) version|"
        r"IPluginCreator not found in Plugin Registry",
        "a plugin is needed that no loaded library registers: {plugin}",
        "a plan with plugins of your own needs --backend-config=tensorrt,plugins=/path/plugin.so;"
        f" without any, {_CHECK} names the operator that became a plugin",
        "https://github.com/NVIDIA-AI-IOT/tao-toolkit-triton-apps/issues/10",
    ),
    KnownError(
        "plan-missing",
        r"(?:Error opening engine file: |unable to find '(?=[^'\n]+' for model instance))"
        r"(?P<path>[^\s'\"]+)",
        "there is no plan at {path}: none was built for this GPU's compute capability, or it was"
        " not copied to this server",
        f"{_PREFLIGHT} lists what is there; on this GPU: {_BUILD}, then {_PROMOTE}",
        f"{_BACKEND}/instance_state.cc",
    ),
)

_CONFIG = (
    KnownError(
        "batch-too-large",
        r"configuration specified max-batch (?P<config>\d+) but TensorRT engine\s+only supports"
        r" max-batch =?(?P<plan>\d+)",
        "the config wants batches of up to {config}; the plan takes at most {plan} (0: its batch"
        " axis is fixed)",
        f"{_PREFLIGHT} compares them; let serving.max_batch and [engine] profiles in the recipe"
        f" agree, then {_REPUBLISH}",
        f"{_TRITON}/7056",
    ),
    KnownError(
        "config-outside-profile",
        r"trt failed to set (?:binding dimension|input shape) to (?P<config>\[[-\d,]*\]) for input"
        r" '?(?P<tensor>[^\s']+)'?",
        "the config makes Triton prepare input '{tensor}' for {config}, which is outside of the"
        " plan's optimization profiles",
        f"{_PREFLIGHT} compares them; widen [engine] profiles in the recipe or lower"
        f" serving.max_batch, then {_REPUBLISH}",
        f"{_TRITON}/3919",
    ),
    KnownError(
        "tensor-name",
        r"unexpected inference (?P<side>input|output) '(?P<tensor>[^'\n]+)', allowed (?:in|out)puts"
        r" are: (?P<plan>[^\"|\n]*[^\"|\s])",
        "the config names the {side} '{tensor}'; the plan's {side}s are: {plan}",
        f"the config belongs to another file than the plan: {_PROMOTE} writes it anew;"
        f" {_PREFLIGHT} compares them",
        "https://github.com/isarsoft/yolov4-triton-tensorrt/issues/54",
    ),
    KnownError(
        "tensor-dtype",
        r"unexpected datatype (?P<plan>TYPE_\w+) for inference (?P<side>input|output)"
        r" '(?P<tensor>[^'\n]+)', expecting (?P<config>TYPE_\w+)",
        "the plan's {side} '{tensor}' is {plan}; the config says {config}",
        f"the config belongs to another file than the plan: {_PROMOTE} writes it anew; if the plan"
        f" came from elsewhere, {_BUILD}",
        f"{_TRITON}/7307",
    ),
    KnownError(
        "tensor-dims",
        r"tensor '(?P<tensor>[^'\n]+)': the model expects \d+ dimensions \(shape"
        r" (?P<plan>\[[-\d,]*\])\) but the model configuration specifies \d+ dimensions \([^[\n]*"
        r"(?P<config>\[[-\d,]*\])",
        "'{tensor}' has the shape {plan} in the plan and {config} in the config",
        f"the config belongs to another file than the plan: {_PROMOTE} writes it anew;"
        f" {_PREFLIGHT} compares them",
        f"{_TRITON}/4194",
    ),
    KnownError(
        "no-tensorrt-backend",
        r"unable to find backend library for backend 'tensorrt(?:_plan)?'|"
        r"unable to find 'libtriton_tensorrt(?:_plan)?\.so'",
        'this server has no TensorRT backend, or the config says backend: "tensorrt_plan", which'
        " is a platform",
        "on a machine without a GPU serve the CPU fleet (--model-config-name=cpu); on a GPU use the"
        f" NGC Triton image (docs/gpu.md); {_PROMOTE} writes a config with the right words",
        f"{_TRITON}/5206",
    ),
)

_MACHINE = (
    KnownError(
        "driver-older-than-image",
        r"built for NVIDIA Driver Release (?P<needed>[\d.]*\d) or later, but\s+version"
        r" (?P<running>[\d.]*\d) was detected",
        "the image needs the NVIDIA driver {needed} or later; this machine runs {running}",
        f"update the driver, or serve with an older image and build plans in that one: {_BUILD}",
        f"{_TRITON}/3532",
    ),
    KnownError(
        "driver-too-old",
        rf"{_CUDA} (?:35|803|804)\b|provided PTX was compiled with an unsupported toolchain|"
        r"unable to (?:set|get|create|revert)[^\n]*CUDA driver version is insufficient",
        "the NVIDIA driver is older than the CUDA that this program was built with, or there is"
        " none (CUDA's errors 35, 222, 803, 804)",
        "compare nvidia-smi with the image's release notes: update the driver, or take an older"
        f" image and build in that one: {_BUILD}",
        "https://github.com/olibartfast/neuriplo-infer/issues/17",
    ),
    KnownError(
        "no-gpu",
        rf"{_CUDA} (?:38|100)\b|no CUDA-capable device is detected|"
        r"has kind KIND_GPU but no GPUs are available|TensorRT backend supports only GPU device",
        "no GPU is visible to this process, and plans run on GPUs alone",
        "start the container with --gpus all (in Kubernetes: limits nvidia.com/gpu) and look at"
        " nvidia-smi in it; without a GPU serve the CPU fleet (--model-config-name=cpu)",
        f"{_TRITON}/3912",
    ),
    KnownError(
        "cuda-does-not-start",
        rf"{_CUDA} (?P<number>\d+)",
        "CUDA does not start: error {number} (2 is out of GPU memory; 999 says no more than that"
        " the driver failed)",
        "look at nvidia-smi in the same container; where it fails too, reload the driver or reboot",
        f"{_ISSUES}/149",
    ),
    KnownError(
        "libnvinfer-missing",
        r"(?P<library>libnv(?:infer|onnxparser)\w*\.so[.\d]*): cannot open shared object file",
        "the program was linked with {library}, which this image does not have: it was made for"
        " another version of TensorRT",
        "take server, plugins and tools from one image; plans too:"
        f" {_BUILD} in the image that serves",
        f"{_TRITON}/3754",
    ),
    KnownError(
        "out-of-gpu-memory",
        r"Requested amount of (?:GPU )?memory \(\d+ bytes\) could not be allocated|Error Code \d+:"
        r" OutOfMemory|Cuda Runtime \(out of memory\)|unable to (?:allocate|create)[^\n]*: out of"
        r" memory",
        "the GPU's memory is full: plans, their scratch memory for the largest batch, and whatever"
        " else runs on this GPU",
        "nvidia-smi lists who uses it: end that, or serve fewer models on this GPU, or lower"
        f" serving.instances or serving.max_batch in the recipe, then {_REPUBLISH}",
        f"{_ISSUES}/3017",
    ),
)

_BUILDING = (
    KnownError(
        "no-kernel",
        r"[Cc]ould not find any implementation for node |no tactics to implement the operation"
        r" within workspace limit",
        "TensorRT found no kernel for a part of the network within the memory that it may use",
        f"free the GPU (nvidia-smi) and repeat {_BUILD}; where the recipe limits it, [engine]"
        f" workspace_mib = 0; if it stays, leave the named node unquantized; then {_REPUBLISH}",
        f"{_ISSUES}/1766",
    ),
    KnownError(
        "no-profile",
        r"Network has dynamic or shape inputs, but no optimization profile has been defined|"
        r"is missing dimensions in profile",
        "the network has a free axis (the batch), and the builder was not told its range",
        f"{_BUILD} takes the ranges from the recipe's axes; trtexec needs --minShapes, --optShapes"
        " and --maxShapes",
        f"{_ISSUES}/1116",
    ),
    KnownError(
        "unknown-operator",
        r"Plugin not found, are the plugin name, version, and namespace correct",
        "the ONNX file has an operator that TensorRT does not know; it looked for a plugin instead",
        f"{_CHECK} names the node; express it with standard ONNX operators and publish anew",
        "https://github.com/onnx/onnx-tensorrt/issues/800",
    ),
    KnownError(
        "asymmetric-qdq",
        r"shiftIsAllZeros|Non-zero zero point is not supported|zeroPt must be all zeros",
        "the INT8 file was quantized asymmetrically: a zero point is not 0",
        f"quantize symmetrically (clickclean publish does) and publish anew; {_CHECK} proves the"
        " file without a GPU",
        f"{_ISSUES}/4698",
    ),
    KnownError(
        "quantized-bias",
        r"input has type Int32 but must have type FP8|only activation types allowed as input to"
        r" this layer",
        "a bias was quantized to INT32; TensorRT dequantizes 8 and 4 bits alone and wants the bias"
        " in floating point",
        "leave biases out of quantization (ONNX Runtime: QuantizeBias=False; clickclean publish"
        f" does) and publish anew; {_CHECK} proves the file without a GPU",
        "https://github.com/microsoft/onnxruntime/issues/14229",
    ),
    KnownError(
        "unsigned-qdq",
        r"QuantizeLinear/DequantizeLinear with UINT8 zero_point",
        "tensors were quantized to UINT8; TensorRT goes on with INT8, which cuts values above 127:"
        " the plan builds and may answer wrongly",
        f"quantize to INT8 (clickclean publish does) and publish anew; {_CHECK} proves the file"
        " without a GPU",
        "https://github.com/onnx/onnx-tensorrt/blob/main/onnxOpImporters.cpp",
    ),
)

_SERVING = (
    KnownError(
        "shape-outside-profile",
        r"Set dimension (?P<given>\[[-\d,]*\]) for tensor (?P<tensor>\S+) does not satisfy any"
        r" optimization profiles\.\s*Valid range for profile \d+:"
        r" (?P<low>\[[-\d,]*\])\.\.(?P<high>\[[-\d,]*\])",
        "input '{tensor}' was given the shape {given}; the plan takes {low} to {high}",
        f"send shapes within that range, or {_WIDEN}",
        "https://github.com/NVIDIA/trt-samples-for-hackathon-cn/blob/master/cookbook/08-Advance/EmptyTensor/README.md",
    ),
    KnownError(
        "size-outside-profile",
        r"for bindings\[(?P<tensor>\d+)\] exceed min ~ max range at index (?P<axis>\d+), maximum"
        r" dimension in profile is (?P<high>-?\d+), minimum dimension in profile is (?P<low>-?\d+),"
        r" but supplied dimension is (?P<given>-?\d+)",
        "axis {axis} of tensor number {tensor} was given the size {given}; the plan takes {low} to"
        " {high}",
        f"send sizes within that range, or {_WIDEN}",
        f"{_ISSUES}/2739",
    ),
    KnownError(
        "request-outside-profile",
        r"request specifies invalid shape for input '(?P<tensor>[^'\n]+)' for [^\n]*?model"
        r" expected the shape of dimension (?P<axis>\d+) to be between (?P<low>-?\d+) and"
        r" (?P<high>-?\d+) but received (?P<given>-?\d+)",
        "a request (or the batch that Triton made of several) gave axis {axis} of input '{tensor}'"
        " the size {given}; the plan takes {low} to {high}",
        "send sizes within that range; where axis 0 is too large, the config's batch is larger than"
        f" the plan's: {_PREFLIGHT} tells; for wider profiles, {_REPUBLISH}",
        f"{_TRITON}/4384",
    ),
    KnownError(
        "other-gpu-model",
        r"Using an engine plan file across different models of devices is not (?:recommended|"
        r"supported)",
        "the plan was built on another model of GPU with the same compute capability (on one"
        " machine: under another power limit); it may be slower than one built here, or fail",
        f"on this GPU: {_BUILD}, then {_PROMOTE}",
        f"{_ISSUES}/2900",
    ),
)

SPECIFIC = _LOADING + _CONFIG + _MACHINE + _BUILDING + _SERVING
"""Each names its cause; where several match one line, the first does."""

GENERIC = (
    KnownError(
        "plan-not-read",
        r"unable to load plan file to auto complete config: (?P<path>[^\s\"|]+)",
        "TensorRT could not load {path}, and the log does not hold its reason; Triton says the same"
        " when the file is missing",
        f"{_PREFLIGHT} says whether the file is there and fits; {_REBUILD}",
        f"{_BACKEND}/model_state.cc",
    ),
    KnownError(
        "engine-not-created",
        r"unable to create TensorRT (?:engine|runtime|context)|Engine deserialization failed|"
        r"Deserialize the cuda engine failed",
        "TensorRT could not load the plan or prepare it for execution, and the log does not hold"
        " its reason; mostly another GPU, another TensorRT, or no free GPU memory",
        f"{_PREFLIGHT} compares plan, GPU and TensorRT; nvidia-smi shows the memory; {_REBUILD}",
        f"{_BACKEND}/loader.cc",
    ),
)
"""Consequences: they explain only where nothing more specific was said just before."""
