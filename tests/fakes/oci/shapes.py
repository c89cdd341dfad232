"""GPU shapes of Oracle's catalogue that can train on several GPUs."""

from typing import NamedTuple


class Shape(NamedTuple):
    """What an instance of it has; an OCPU is two virtual CPUs."""

    gpus: int
    gpu: str
    ocpus: int
    memory_gib: int


SHAPES = {
    "VM.GPU3.1": Shape(1, "NVIDIA V100", 6, 90),
    "VM.GPU3.2": Shape(2, "NVIDIA V100", 12, 180),
    "VM.GPU3.4": Shape(4, "NVIDIA V100", 24, 360),
    "VM.GPU.A10.1": Shape(1, "NVIDIA A10", 15, 240),
    "VM.GPU.A10.2": Shape(2, "NVIDIA A10", 30, 480),
    "BM.GPU3.8": Shape(8, "NVIDIA V100", 52, 768),
    "BM.GPU.A10.4": Shape(4, "NVIDIA A10", 64, 1024),
    "BM.GPU4.8": Shape(8, "NVIDIA A100 40GB", 64, 2048),
    "BM.GPU.A100-v2.8": Shape(8, "NVIDIA A100 80GB", 128, 2048),
    "BM.GPU.H100.8": Shape(8, "NVIDIA H100", 112, 2048),
}
