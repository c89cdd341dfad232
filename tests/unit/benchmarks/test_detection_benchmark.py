"""What the benchmarks of detection make of seconds and of the output of v7.0, and how their plain loop letterboxes."""

from pathlib import Path

import pytest

from benchmarks.detection.openvino_loop import plan
from benchmarks.detection.programs import Clips, Scores, read_scores
from benchmarks.detection.speed import Runs
from benchmarks.training.observed_process import ProgramFailed
from masktrain_trainer.data.geometry import plan_letterbox

CLIPS = Clips(Path("long"), 120, Path("short"), 20)


def test_the_start_drops_out_of_the_steady_speed() -> None:
    times = [(3.0 + 120 / 50, 3.0 + 20 / 50), (5.0 + 120 / 25, 5.0 + 20 / 25)]
    assert Runs(CLIPS, times).speeds == pytest.approx([50, 25])
    assert Runs(CLIPS, times).starts == pytest.approx([3, 5])


@pytest.mark.parametrize("frame_size", [(360, 640), (720, 1280), (333, 500), (640, 360)])
@pytest.mark.parametrize("image_size", [320, 640])
def test_the_plain_loop_pads_as_much_as_ours(frame_size: tuple[int, int], image_size: int) -> None:
    height, width, scale, padding = plan(frame_size, image_size)
    ours = plan_letterbox(frame_size, (image_size, image_size), stride=32)
    assert (height, width) == ours.output
    assert scale == ours.ratio
    assert padding == (ours.top, ours.bottom, ours.left, ours.right)


def test_scores_are_read_from_the_table_of_v7() -> None:
    table = """
                 Class     Images  Instances          P          R      mAP50   mAP50-95: 100%|####| 4/4 [00:01<00:00]
                   all        100        331      0.812      0.743      0.791      0.512
             incorrect        100         85      0.700      0.600      0.650      0.400
    """
    assert read_scores(table) == Scores(0.791, 0.512)
    with pytest.raises(ProgramFailed, match="no line for all classes"):
        read_scores("Traceback")
    with pytest.raises(ProgramFailed, match="left boxes out"):
        read_scores("WARNING NMS time limit 2.100s exceeded\n" + table)
