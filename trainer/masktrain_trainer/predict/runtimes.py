"""Networks that something else than torch runs: OpenVINO, the fastest on CPUs, for its own files and for ONNX."""

import threading
from collections import OrderedDict, deque
from typing import Any, Final

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from masktrain_trainer.data.cpu_limit import cpu_limit

from .exported import ExportedModel, import_openvino
from .predictor import Inference, Pending

MOST_SHAPES: Final = 4
"""Input shapes that stay compiled: a video has one, a folder of pictures a few. Each takes a second and its memory."""
WAITING: Final = 2
"""Requests beyond those that run: the next one begins when one ends, whatever its caller does at that moment."""
_HINTS: Final = {torch.bfloat16: ("BF16", "bf16"), torch.float16: ("FP16", "f16")}


class OpenVinoNetwork:
    """Pictures run one by one beside each other: that is faster than as a batch, and only one shape is compiled.

    number_format: what convolutions of floats compute in, where the CPU has it. latency: answer each picture as soon as
    can be, as live sources like it, instead of most pictures per second.
    """

    device = torch.device("cpu")

    def __init__(
        self, model: ExportedModel, number_format: torch.dtype = torch.float32, *, latency: bool = False
    ) -> None:
        self._openvino = import_openvino()
        self._core = self._openvino.Core()
        self._model = model
        self._latency = latency
        self._settings = self._choose(number_format)
        self._compiled: OrderedDict[tuple[int, int], _Compiled] = OrderedDict()
        self._lock = threading.Lock()
        self._requests: int | None = None

    def _choose(self, number_format: torch.dtype) -> dict[str, Any]:
        capability, hint = _HINTS.get(number_format, ("", ""))
        able = capability in self._core.get_property("CPU", "OPTIMIZATION_CAPABILITIES")
        return {
            "PERFORMANCE_HINT": "LATENCY" if self._latency else "THROUGHPUT",
            # Said in any case: left alone, OpenVINO computes floats in bfloat16 where there is AMX.
            "INFERENCE_PRECISION_HINT": hint if able else "f32",
            # A container's share is less than its node's CPUs.
            "INFERENCE_NUM_THREADS": cpu_limit(),
        }

    @property
    def in_flight(self) -> int:
        if self._latency:
            return 1
        # Known once a shape was compiled; there is never one for less than a thread.
        return (self._requests or cpu_limit()) + WAITING

    def start(self, images_BCHW: Tensor) -> Pending:
        height, width = images_BCHW.shape[2:]
        if self._model.fixed_shape not in (None, (height, width)):
            raise ValueError(f"the model takes {self._model.fixed_shape} px, not {(height, width)}")
        return _Started(self._for_shape(height, width), images_BCHW)

    def _for_shape(self, height: int, width: int) -> "_Compiled":
        with self._lock:
            found = self._compiled.pop((height, width), None) or self._compile(height, width)
            self._compiled[height, width] = found
            if len(self._compiled) > MOST_SHAPES:
                self._compiled.popitem(last=False)
            return found

    def _compile(self, height: int, width: int) -> "_Compiled":
        document = _taking_bytes(self._openvino, self._model.document.clone())
        batch = self._model.batch or 1
        if self._model.fixed_shape is None or self._model.batch is None:
            document.reshape([batch, height, width, 3])
        compiled = self._core.compile_model(document, "CPU", self._settings)
        self._requests = int(compiled.get_property("OPTIMAL_NUMBER_OF_INFER_REQUESTS"))
        return _Compiled(self._openvino, compiled, batch)


def _taking_bytes(openvino: Any, document: Any) -> Any:
    """Pictures as they lie in memory: bytes, channels last. Boxes come out as float32."""
    steps = openvino.preprocess.PrePostProcessor(document)
    images, floats = steps.input(), document.input().get_element_type()
    images.tensor().set_element_type(openvino.Type.u8).set_layout(openvino.Layout("NHWC"))
    images.model().set_layout(openvino.Layout("NCHW"))
    images.preprocess().convert_element_type(openvino.Type.f32).scale(255.0).convert_element_type(floats)
    steps.output().tensor().set_element_type(openvino.Type.f32)
    return steps.build()


class _Compiled:
    """A model for one shape, with requests that wait to be used again."""

    def __init__(self, openvino: Any, compiled: Any, batch: int) -> None:
        self.batch = batch
        self.output_BNP = tuple(compiled.output().get_shape())
        self._openvino = openvino
        self._compiled = compiled
        self._idle: deque[Any] = deque()

    def run(self, images_BHWC: npt.NDArray[np.uint8], boxes_BNP: npt.NDArray[np.float32]) -> Any:
        """Begin to write what is found in one batch to `boxes_BNP`; both must live until the request was waited for."""
        try:
            request = self._idle.pop()
        except IndexError:
            request = self._compiled.create_infer_request()
        request.set_input_tensor(self._openvino.Tensor(images_BHWC, shared_memory=True))
        request.set_output_tensor(self._openvino.Tensor(boxes_BNP, shared_memory=True))
        request.start_async()
        return request

    def give_back(self, request: Any) -> None:
        self._idle.append(request)


class _Started:
    """A batch on its way, in parts of the size that the model takes."""

    def __init__(self, compiled: _Compiled, images_BCHW: Tensor) -> None:
        self._compiled = compiled
        self._count = len(images_BCHW)
        part, (_, rows, values) = compiled.batch, compiled.output_BNP
        parts = -(-self._count // part)
        # No copy where the batch is channels last in memory, as letterboxes are.
        self._images_BHWC = _filled_up(images_BCHW.permute(0, 2, 3, 1).cpu().contiguous(), parts * part).numpy()
        # Its own memory: a request's would be overwritten by the next batch.
        self._boxes_BNP = torch.empty(parts * part, rows, values)
        boxes_BNP = self._boxes_BNP.numpy()
        spans = [slice(start, start + part) for start in range(0, parts * part, part)]
        self._running = [compiled.run(self._images_BHWC[span], boxes_BNP[span]) for span in spans]

    def __call__(self) -> Inference:
        while self._running:
            request = self._running.pop(0)
            request.wait()
            self._compiled.give_back(request)
        return Inference([], self._boxes_BNP[: self._count])


def _filled_up(images_BHWC: Tensor, count: int) -> Tensor:
    """With pictures of nothing up to `count`."""
    missing = count - len(images_BHWC)
    if not missing:
        return images_BHWC
    return torch.cat((images_BHWC, images_BHWC.new_zeros(missing, *images_BHWC.shape[1:])))
