"""Where a detector computes, and in which numbers, by what a person asked for."""

import re
from enum import StrEnum

import torch

from masktrain_trainer.config import Precision
from masktrain_trainer.errors import InvalidConfiguration
from masktrain_trainer.model.precision import choose_format
from masktrain_trainer.predict.predictor import choose_device

_GPU = re.compile(r"(?:cuda:)?(\d+)", re.ASCII)


class Numbers(StrEnum):
    """AUTO: what the device does well, as in validation. HALF: 16 bits, also where a GPU is asked for nothing else."""

    AUTO = "auto"
    HALF = "half"
    FLOAT32 = "float32"


def parse_device(text: str | None) -> torch.device:
    """`cpu`, `0`, `cuda:0`, or nothing for a GPU if there is one. Raises InvalidConfiguration."""
    asked = (text or "").strip().lower()
    if not asked:
        return choose_device()
    if asked == "cpu":
        return torch.device("cpu")
    if "," in asked:
        raise InvalidConfiguration(
            f"--device {text} names several devices, and detection takes one: give cpu, 0 or cuda:0."
        )
    found = _GPU.fullmatch("0" if asked == "cuda" else asked)
    if found is None:
        raise InvalidConfiguration(f"--device {text} is none that is known: give cpu, 0 or cuda:0.")
    there = torch.cuda.device_count() if torch.cuda.is_available() else 0
    if int(found[1]) >= there:
        has = f"has {there} GPU(s), numbered from 0" if there else "has no GPU that torch can use"
        raise InvalidConfiguration(f"--device {text} is not there: this machine {has}; leave --device out or give cpu.")
    return torch.device("cuda", int(found[1]))


def number_format(numbers: Numbers, device: torch.device) -> torch.dtype:
    """float16 for HALF on a GPU. CPUs have bfloat16 or nothing, which AUTO takes by itself."""
    if numbers is Numbers.FLOAT32:
        return torch.float32
    if numbers is Numbers.HALF and device.type == "cuda":
        return torch.float16
    return choose_format(Precision.AUTO, device)
