"""results.csv reads like YOLOv5's."""

from masktrain_trainer.report.tables import RESULT_COLUMNS, EpochResult, append_result, parse_results

RESULT = EpochResult(
    epoch=0,
    train_losses=(0.123456789, 0.05, 0.001),
    precision=0.5,
    recall=0.25,
    map50=0.3,
    map50_95=0.1,
    val_losses=(1.5, 2.5, 1e-7),
    learning_rates=(0.1, 0.01, 0.01),
)


def test_every_field_is_twenty_wide() -> None:
    lines = append_result("", RESULT).splitlines()
    assert [len(line) for line in lines] == [20 * 14 + 13] * 2
    assert lines[0].split(",")[1] == "      train/box_loss"
    assert lines[1].split(",")[:2] == ["                   0", "             0.12346"]


def test_lines_are_appended_and_read_back() -> None:
    text = append_result(append_result("", RESULT), RESULT)
    table = parse_results(text)
    assert tuple(table) == RESULT_COLUMNS
    assert table["val/cls_loss"] == [1e-7, 1e-7]
    assert parse_results("") == {}
