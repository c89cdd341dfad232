"""What the benchmarks read off both trainers' output."""

import sys
from pathlib import Path

import pytest

from benchmarks.training import ours, yolov5
from benchmarks.training.epochs import Epoch, mean_images_per_second, mean_map50
from benchmarks.training.observed_process import Line, ProgramFailed, run_observed
from benchmarks.training.report import compared

YOLOV5_OUTPUT = """\
10 Starting training for 2 epochs...
10       Epoch    GPU_mem   box_loss   obj_loss   cls_loss  Instances       Size
14         0/1         0G     0.1109    0.03387    0.03832         79        320:  50%|█████     | 3/6 [00:04<00:04]
18         0/1         0G      0.109    0.03183     0.0385         66        320: 100%|██████████| 6/6 [00:08<00:00]
19                  Class     Images  Instances          P          R      mAP50   mAP50-95: 100%|██████████| 1/1
19                    all         24         87    0.00523      0.351     0.0054    0.00128
20       Epoch    GPU_mem   box_loss   obj_loss   cls_loss  Instances       Size
26         1/1         0G     0.1052    0.03868    0.03834         84        320: 100%|██████████| 6/6 [00:06<00:00]
27                    all         24         87    0.00545      0.377    0.00733    0.00186
28 2 epochs completed in 0.036 hours.
30                    all         24         87    0.00618      0.328     0.0173    0.00298
"""
OUR_OUTPUT = """\
10 05:58:40 96 training images in 6 batches of 16 at 320 px, 24 validation images
17 05:59:47 epoch 0/1  box 0.1080  obj 0.0336  cls 0.0384  P 0.005  R 0.430  mAP50 0.007  mAP50-95 0.002  12.0 images/s
18 05:59:48 checkpoint of epoch 0 step 6 (epoch) handed over in 0.01 s
20 05:59:49 checkpoint of epoch 1 step 8 (interval) handed over in 0.01 s
25 06:00:39 epoch 1/1  box 0.1  obj 0.04  cls 0.038  P 0.006  R 0.496  mAP50 0.009  mAP50-95 0.002  16.0 images/s  best
26 06:00:40 checkpoint of epoch 1 step 12 (final) handed over in 0.01 s
27 06:00:43                  all     24 images     87 labels  P 0.006  R 0.496  mAP50 0.009  mAP50-95 0.002
"""


def lines(output: str) -> list[Line]:
    return [Line(float(line[:2]), line[3:]) for line in output.splitlines()]


def test_an_epoch_of_v7_lasts_from_header_to_header() -> None:
    assert yolov5.read_epochs(lines(YOLOV5_OUTPUT), train_images=96) == [
        Epoch(images_per_second=12.0, wall_seconds=10, ended_at=20, map50=0.0054),
        Epoch(images_per_second=16.0, wall_seconds=8, ended_at=28, map50=0.00733),
    ]


def test_an_epoch_of_ours_lasts_from_checkpoint_to_checkpoint() -> None:
    assert ours.read_epochs(lines(OUR_OUTPUT)) == [
        Epoch(images_per_second=12.0, wall_seconds=8, ended_at=18, map50=0.007),
        Epoch(images_per_second=16.0, wall_seconds=8, ended_at=26, map50=0.009),
    ]


@pytest.mark.parametrize("cut", range(1, 10))
def test_a_run_that_was_ended_counts_its_whole_epochs(cut: int) -> None:
    whole = yolov5.read_epochs(lines(YOLOV5_OUTPUT), train_images=96)
    assert yolov5.read_epochs(lines(YOLOV5_OUTPUT)[:cut], train_images=96) == (whole[:1] if cut >= 7 else [])


def test_the_area_counts_what_was_known_when() -> None:
    epochs = [Epoch(1, 20, ended_at=120, map50=0.2), Epoch(1, 20, ended_at=140, map50=0.6)]
    assert mean_map50(epochs, start=100, seconds=100) == pytest.approx((20 * 0 + 20 * 0.2 + 60 * 0.6) / 100)
    assert mean_map50(epochs, start=100, seconds=30) == pytest.approx(10 * 0.2 / 30)
    assert mean_map50([], start=100, seconds=30) == 0


def test_equal_epochs_have_a_harmonic_mean() -> None:
    assert mean_images_per_second([Epoch(10, 1, 1, 0), Epoch(30, 1, 2, 0)]) == pytest.approx(15)


def test_ratios_say_how_many_times_better_ours_is() -> None:
    assert compared([30, 20], [10, 10], peer_name="", unit="images/s")["ratio"] == 2.5
    assert compared([10, 10], [30, 20], peer_name="", unit="s")["ratio"] == 2.5


def test_programs_are_read_by_line_and_by_refresh(tmp_path: Path) -> None:
    script = "import sys; sys.stderr.write('1/2\\r2/2\\r'); print('done')"
    texts = [line.text for line in run_observed([sys.executable, "-u", "-c", script], {}, tmp_path)]
    assert texts == ["1/2", "2/2", "done"]


def test_a_failed_program_is_quoted(tmp_path: Path) -> None:
    with pytest.raises(ProgramFailed, match="exit code 3:\nno data"):
        run_observed([sys.executable, "-c", "print('no data'); raise SystemExit(3)"], {}, tmp_path)
