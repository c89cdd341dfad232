"""Which GPUs the installed torch runs on, and whether those of this pod are such: its first stage, before any download.

    python -m masktrain_trainer.train.devices --ranks 2 --result /workspace/run/devices.json

Exit codes: 0 the GPUs can do the job; 64 they cannot, and the sentence is in the result file. A job on CPUs needs no
such stage.
"""

import argparse
import logging
import os
import re
import sys
import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import torch

from masktrain_trainer.config import CONFIG_VARIABLE, DEVICE_VARIABLE, ExitCode, RunConfig, TrainingSpec
from masktrain_trainer.errors import InvalidConfiguration, UserError
from masktrain_trainer.files import write_text_atomically
from masktrain_trainer.model.precision import Capability, format_on_gpu
from masktrain_trainer.run_directory import StageFailure, StageResult

log = logging.getLogger(__name__)

COMPILED_FROM: Capability = (8, 0)
"""What triton, the compiler behind torch.compile, asks of a GPU (its README, "Compatibility")."""

_OLDEST_DRIVER = {11: 450, 12: 525, 13: 580}
"""By CUDA's major version the first branch whose driver runs all its minor versions: NVIDIA's CUDA Compatibility guide,
"Minor Version Compatibility".
"""

_DRIVER_VERSION_FILE = Path("/proc/driver/nvidia/version")


@dataclass(frozen=True)
class Gpu:
    name: str
    capability: Capability

    @property
    def words(self) -> str:
        return f"{self.name} (compute capability {_dotted(self.capability)})"


@dataclass(frozen=True)
class Machine:
    """What torch and the driver say about each other; everything that the judgement needs.

    flags: the architectures that torch's kernels are compiled for, `sm_70 sm_75 … compute_90`.
    cuda: of torch's build, `12.8`; None of one for CPUs. driver: `570.86.15`; None where there is none.
    trouble: what CUDA answered instead of its devices.
    """

    torch: str
    cuda: str | None
    flags: str
    driver: str | None
    gpus: tuple[Gpu, ...]
    trouble: str = ""


def compiled_capabilities(flags: str) -> tuple[Capability, ...]:
    """The capabilities that machine code is there for: `sm_70 sm_100` are 7.0 and 10.0.

    Code for one chip alone (`sm_90a`) and for a family (`sm_100f`) is left out: it promises less.
    """
    return tuple(_capability(number) for number in re.findall(r"\bsm_(\d+)\b", flags))


def runs_on(flags: str, capability: Capability) -> bool:
    """Machine code runs within a major version from its own minor version on, so code for 8.6 runs on 8.9; `compute_XY`
    is PTX, which the driver compiles for everything newer (CUDA C++ Programming Guide, "Application Compatibility").
    """
    major, minor = capability
    portable = [_capability(number) for number in re.findall(r"\bcompute_(\d+)\b", flags)]
    return any(x == major and z <= minor for x, z in compiled_capabilities(flags)) or any(
        ptx <= capability for ptx in portable
    )


def require_suitable(machine: Machine, ranks: int, training: TrainingSpec) -> None:
    """Raises InvalidConfiguration, with a sentence, if this machine cannot do the job as it is set."""
    _require_driver(machine)
    require_enough(len(machine.gpus), ranks)
    # AMD's numbers mean something else, and an image built for ROCm is not ours.
    if machine.cuda is None:
        return
    for gpu in machine.gpus[:ranks]:
        if not runs_on(machine.flags, gpu.capability):
            compiled = ", ".join(map(_dotted, compiled_capabilities(machine.flags)))
            raise InvalidConfiguration(
                f"This image cannot compute on {gpu.words}, driver {machine.driver or 'unknown'}: its torch "
                f"{machine.torch} has code for {compiled} and what follows each within its major version; use a shape "
                "that docs/gpus.md lists, or set compute.image to one whose torch is built for this GPU."
            )
        format_on_gpu(training.precision, gpu.capability)
        if training.compile:
            require_compiler_support(gpu.capability)


def _require_driver(machine: Machine) -> None:
    if machine.cuda is None:
        if machine.gpus:
            return
        raise InvalidConfiguration(
            f"The torch {machine.torch} of this image is built for CPUs: set compute.image to one with CUDA, or set "
            f"{DEVICE_VARIABLE}=cpu in compute.env to train on CPUs."
        )
    needed = _OLDEST_DRIVER.get(int(machine.cuda.partition(".")[0]))
    branch = int(machine.driver.partition(".")[0]) if machine.driver else None
    if branch is not None and needed is not None and branch < needed:
        gpus = f" of {machine.gpus[0].words}" if machine.gpus else ""
        raise InvalidConfiguration(
            f"The NVIDIA driver {machine.driver}{gpus} is too old for this image's CUDA {machine.cuda}, which needs "
            f"{needed} or newer: give the node pool a newer GPU node image."
        )
    if machine.trouble:
        raise InvalidConfiguration(
            f"The node's GPUs (driver {machine.driver or 'not found'}) cannot be used, CUDA says: "
            f"{machine.trouble.rstrip('.')}; check the node's driver, or give the pool another GPU node image."
        )


def require_enough(found: int, ranks: int) -> None:
    """Raises InvalidConfiguration if there is not a GPU for each rank."""
    if found < ranks:
        raise InvalidConfiguration(
            f"The pod has {found} usable CUDA device(s) for {ranks} rank(s): set compute.gpusPerNode to "
            f"what a node offers and check its driver, or set {DEVICE_VARIABLE}=cpu in compute.env to train on CPUs.",
        )


def require_compiler_support(capability: Capability) -> None:
    """Raises InvalidConfiguration where triton makes no code for the GPU."""
    if capability < COMPILED_FROM:
        raise InvalidConfiguration(
            f"training.compile needs a GPU of compute capability {_dotted(COMPILED_FROM)} or higher, and this one has "
            f"{_dotted(capability)}: leave training.compile out."
        )


def choose_device(local_rank: int, local_world_size: int) -> torch.device:
    """A GPU of this rank's own, or the CPU on request. Raises UserError if the pod has too few GPUs."""
    if os.environ.get(DEVICE_VARIABLE, "auto") == "cpu":
        return torch.device("cpu")
    require_enough(torch.cuda.device_count(), local_world_size)
    return torch.device("cuda", local_rank)


def architecture_flags() -> str:
    """What torch's kernels are compiled for. Unlike `torch.cuda.get_arch_list` it answers without a GPU, too."""
    # A build for CPUs does not have the function.
    ask = getattr(torch._C, "_cuda_getArchFlags", None)  # noqa: SLF001
    return (ask and ask()) or ""


def driver_version(file: Path = _DRIVER_VERSION_FILE) -> str | None:
    """`570.86.15` from `NVRM version: NVIDIA UNIX x86_64 Kernel Module  570.86.15  Wed …`; None without a driver."""
    try:
        found = re.search(r"Kernel Module\D.*?\b(\d{3,}(?:\.\d+)+)\b", file.read_text(encoding="utf-8"))
    except OSError:
        return None
    return found[1] if found else None


def look() -> Machine:
    """Ask torch and the driver. Whatever CUDA refuses with is a fact, too."""
    gpus: list[Gpu] = []
    trouble = ""
    try:
        # torch warns of what is judged here, in a sentence of its own.
        with warnings.catch_warnings(action="ignore"):
            gpus = [_gpu(index) for index in range(torch.cuda.device_count())]
    except (RuntimeError, AssertionError) as error:
        trouble = (str(error).splitlines() or [type(error).__name__])[0]
    return Machine(
        torch=str(torch.__version__),
        cuda=torch.version.cuda,
        flags=architecture_flags(),
        driver=driver_version(),
        gpus=tuple(gpus),
        trouble=trouble,
    )


def _gpu(index: int) -> Gpu:
    return Gpu(torch.cuda.get_device_name(index), torch.cuda.get_device_capability(index))


def main(arguments: Sequence[str] | None = None) -> int:
    options = _options(arguments)
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s", datefmt="%H:%M:%S", stream=sys.stdout)
    training = RunConfig.model_validate_json(os.environ[CONFIG_VARIABLE]).training
    machine = look()
    log.info(
        "devices: %s; driver %s, torch %s for %s",
        ", ".join(gpu.words for gpu in machine.gpus) or "no GPU",
        machine.driver or "not found",
        machine.torch,
        machine.flags or "CPUs",
    )
    try:
        require_suitable(machine, options.ranks, training)
    except UserError as error:
        failure = StageFailure(reason=error.reason, message=str(error))
        write_text_atomically(options.result, StageResult(failure=failure).to_json())
        return ExitCode.USER_ERROR
    return ExitCode.DONE


def _dotted(capability: Capability) -> str:
    return "{}.{}".format(*capability)


def _capability(number: str) -> Capability:
    """`100` is 10.0: the last digit is the minor version."""
    return int(number[:-1]), int(number[-1])


def _options(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m masktrain_trainer.train.devices")
    parser.add_argument("--ranks", type=int, required=True, help="training processes of this pod, one GPU each")
    parser.add_argument("--result", type=Path, required=True, help="where a refusal is written")
    return parser.parse_args(arguments)


if __name__ == "__main__":
    sys.exit(main())
