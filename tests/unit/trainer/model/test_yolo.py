"""Sizes, names, memory formats and the fused copy. The numbers are those published for YOLOv5 v7.0."""

import copy

import pytest
import torch
from torch import nn

from masktrain_trainer.config import Architecture
from masktrain_trainer.model.blocks import Conv
from masktrain_trainer.model.precision import with_layout
from masktrain_trainer.model.yolo import Yolo, build_yolo

# architecture: parameters at 80 classes, at 3 classes, state-dict keys, modules
FACTS = {
    "yolov5n": (1_872_157, 1_767_976, 349, 214),
    "yolov5s": (7_235_389, 7_027_720, 349, 214),
    "yolov5m": (21_190_557, 20_879_400, 481, 291),
    "yolov5l": (46_563_709, 46_149_064, 613, 368),
    "yolov5x": (86_749_405, 86_231_272, 745, 445),
    "yolov5n6": (3_246_940, 3_098_176, 459, 281),
    "yolov5s6": (12_626_620, 12_330_016, 459, 281),
    "yolov5m6": (35_731_932, 35_287_488, 627, 379),
    "yolov5l6": (76_770_172, 76_177_888, 795, 477),
    "yolov5x6": (140_794_780, 140_054_656, 963, 575),
}


def build_without_memory(name: str, num_classes: int) -> Yolo:
    """Shapes only: ten models with weights would take seconds and gigabytes."""
    with torch.device("meta"):
        return build_yolo(Architecture(name), num_classes)


def parameter_count(model: nn.Module) -> int:
    return sum(parameter.numel() for parameter in model.parameters())


@pytest.fixture(scope="module")
def nano() -> Yolo:
    torch.manual_seed(0)
    return build_yolo(Architecture.YOLOV5N, 3)


@pytest.mark.parametrize("name", FACTS)
def test_size(name: str) -> None:
    parameters_80, parameters_3, keys, modules = FACTS[name]
    model = build_without_memory(name, 3)
    assert parameter_count(build_without_memory(name, 80)) == parameters_80
    assert parameter_count(model) == parameters_3
    assert len(model.state_dict()) == keys
    one_shared_activation = 1  # a module in the original, a function call here
    assert len(list(model.modules())) + one_shared_activation == modules


def test_every_architecture_is_tested() -> None:
    assert set(FACTS) == set(Architecture)


def test_fused_size_of_a_published_run() -> None:
    with torch.device("meta"):
        assert parameter_count(build_yolo(Architecture.YOLOV5X, 3).fuse()) == 86_186_872


def test_state_dict_keys(nano: Yolo) -> None:
    keys = set(nano.state_dict())
    for key in (
        "model.0.conv.weight",
        "model.0.bn.running_mean",
        "model.0.bn.num_batches_tracked",
        "model.2.cv1.conv.weight",
        "model.2.m.0.cv2.bn.weight",
        "model.9.cv2.conv.weight",
        "model.24.m.2.bias",
        "model.24.anchors",
    ):
        assert key in keys


def test_batch_norms_have_the_constants_that_no_checkpoint_stores(nano: Yolo) -> None:
    constants = {(m.eps, m.momentum) for m in nano.modules() if isinstance(m, nn.BatchNorm2d)}
    assert constants == {(1e-3, 0.03)}


@pytest.mark.parametrize(("name", "strides"), [("yolov5n", (8, 16, 32)), ("yolov5n6", (8, 16, 32, 64))])
def test_shapes(name: str, strides: tuple[int, ...]) -> None:
    model = build_without_memory(name, 2)
    images_BCHW = torch.zeros(2, 3, 128, 192, device="meta")
    raws = model(images_BCHW)
    assert model.strides == strides
    assert model.anchors.shape == (len(strides), 3, 2)
    assert [raw.shape for raw in raws] == [(2, 3, 128 // s, 192 // s, 7) for s in strides]
    assert model.decode(raws).shape == (2, sum(3 * (128 // s) * (192 // s) for s in strides), 7)


def test_anchors_are_in_units_of_the_stride(nano: Yolo) -> None:
    assert nano.anchors[0, 0].tolist() == [10 / 8, 13 / 8]
    assert nano.anchors[2, 2].tolist() == [373 / 32, 326 / 32]


@torch.no_grad()
def test_fused_copy_predicts_the_same_and_leaves_the_model_alone(nano: Yolo) -> None:
    model = copy.deepcopy(nano)
    images_BCHW = torch.rand(2, 3, 64, 64)
    model(images_BCHW)  # moves the running statistics away from their initial values
    before = {key: value.clone() for key, value in model.state_dict().items()}

    fused = model.fuse()
    assert model.training
    assert all(torch.equal(value, before[key]) for key, value in model.state_dict().items())
    assert not any(isinstance(module, nn.BatchNorm2d) for module in fused.modules())
    assert not any(parameter.requires_grad for parameter in fused.parameters())
    for raw, expected in zip(fused(images_BCHW), model.eval()(images_BCHW), strict=True):
        torch.testing.assert_close(raw, expected, rtol=1e-4, atol=1e-4)


def test_fusing_twice_changes_nothing(nano: Yolo) -> None:
    once = nano.fuse()
    twice = once.fuse()
    assert once.state_dict().keys() == twice.state_dict().keys()


@torch.no_grad()
def test_channels_last_gives_the_same_numbers(nano: Yolo) -> None:
    images_BCHW = torch.rand(2, 3, 64, 64)
    model = copy.deepcopy(nano).eval()
    expected = model(images_BCHW)
    actual = with_layout(model, torch.channels_last)(images_BCHW.to(memory_format=torch.channels_last))
    for raw, raw_expected in zip(actual, expected, strict=True):
        torch.testing.assert_close(raw, raw_expected, rtol=1e-4, atol=1e-5)


def test_in_place_activations_of_inference_change_no_number(nano: Yolo) -> None:
    images = torch.rand(2, 3, 64, 96)
    for model in (copy.deepcopy(nano).eval(), nano.fuse()):
        with torch.inference_mode():
            expected = model(images)
            model.activate_in_place()
            found = model(images)
        for raw, wanted in zip(found, expected, strict=True):
            torch.testing.assert_close(raw, wanted, rtol=0, atol=0)


def test_channels_last_survives_the_whole_network(nano: Yolo) -> None:
    model = with_layout(copy.deepcopy(nano), torch.channels_last)
    lost: list[str] = []

    def look(name: str) -> None:
        def hook(_: nn.Module, __: object, output: torch.Tensor) -> None:
            if not output.is_contiguous(memory_format=torch.channels_last):
                lost.append(name)

        model.get_submodule(name).register_forward_hook(hook)

    for name, module in model.named_modules():
        if isinstance(module, Conv):
            look(name)
    model(torch.rand(2, 3, 64, 64).to(memory_format=torch.channels_last))
    assert lost == []


def test_half_precision_predictions_are_decoded_in_float32(nano: Yolo) -> None:
    raws = [torch.zeros(1, 3, 8 // s, 8 // s, 8, dtype=torch.bfloat16) for s in (1, 2, 4)]
    assert nano.decode(raws).dtype == torch.float32


def test_decoding_zero_gives_the_cell_centre_and_the_anchor(nano: Yolo) -> None:
    decoded = nano.decode([torch.zeros(1, 3, 8 // s, 8 // s, 8) for s in (1, 2, 4)])
    assert decoded[0, 0].tolist() == [4, 4, 10, 13, 0.5, 0.5, 0.5, 0.5]
    assert decoded[0, 1, :2].tolist() == [12, 4]  # the next column


def test_gradients_reach_every_parameter(nano: Yolo) -> None:
    model = copy.deepcopy(nano)
    raws = model(torch.rand(2, 3, 64, 64))
    gradients = torch.autograd.grad([raw.square().sum() for raw in raws], list(model.parameters()))
    assert all(gradient.isfinite().all() and gradient.count_nonzero() for gradient in gradients)


@pytest.mark.parametrize("name", ["yolov5n", "yolov5n6"])
def test_the_forward_pass_is_one_graph_without_breaks(name: str) -> None:
    model = build_yolo(Architecture(name), 3).eval()
    example = torch.rand(1, 3, 64, 64)
    program = torch.export.export(model, (example,))
    for raw, expected in zip(program.module()(example), model(example), strict=True):
        torch.testing.assert_close(raw, expected)
