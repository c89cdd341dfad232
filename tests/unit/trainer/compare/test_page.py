"""The page: other people's names stay text, nothing comes from elsewhere, and the charts say what was counted."""

import base64
import hashlib
import json
import re
from pathlib import Path

import html5lib
import numpy as np
import pytest

from masktrain_trainer.compare import page
from masktrain_trainer.compare.charts import MOST_POINTS, binned, count_charts, disagreement_bars, line, track_rows
from masktrain_trainer.compare.page import Shown, clock, render, rows
from masktrain_trainer.compare.picks import Pick
from masktrain_trainer.compare.verdict import gather, judge

from .staged import Skill, imagined, staged, truth

HOSTILE = "</script><script>alert(1)</script><img src=x onerror=alert(1)>"


@pytest.fixture(scope="module")
def html(tmp_path_factory: pytest.TempPathFactory) -> str:
    folder = tmp_path_factory.mktemp("page")
    (folder / "a.webm").write_bytes(b"a video")
    objects = truth(60, 4)
    recording = staged(imagined(objects, Skill(0.7), 1), imagined(objects, Skill(0.4), 2))
    recording.titles = (HOSTILE, "b.pt")
    recording.classes.names[1] = HOSTILE
    evidence = gather(recording, (1.0, None))
    shown = [Shown(Pick(7, 2.0, "1 box of one model only"), 0.28, HOSTILE, "data:image/jpeg;base64,AA==")]
    panels = (folder / "a.webm", folder / "a.webm")
    return render(recording, evidence, judge(evidence), shown=shown, panels=panels, remarks=[HOSTILE])


def test_names_of_others_stay_text(html: str) -> None:
    assert HOSTILE not in html
    assert "<img src=x" not in html
    assert html.count("<script") == 2


def test_only_the_pages_own_script_and_style_may_run(html: str) -> None:
    policy = re.search(r'Content-Security-Policy" content="([^"]+)"', html)
    assert policy is not None
    assert "default-src 'none'" in policy[1]
    assert "unsafe" not in policy[1]
    for tag in ("script", "style"):
        body = re.search(rf"<{tag}>(.*?)</{tag}>", html, re.DOTALL)
        assert body is not None
        assert base64.b64encode(hashlib.sha256(body[1].encode()).digest()).decode() in policy[1]
    for element in html5lib.parse(html, namespaceHTMLElements=False).iter():
        # The policy would let neither of them through.
        assert not [name for name in element.attrib if name == "style" or name.startswith("on")]
        assert all(element.attrib[name].startswith("data:") for name in ("src", "href") if name in element.attrib)


def test_the_script_knows_how_long_it_is(html: str) -> None:
    facts = re.search(r'id="facts">(.*?)</script>', html)
    assert facts is not None
    assert json.loads(facts[1]) == {"frames": 60, "rate": 25.0}


def test_charts_count_what_is_shown() -> None:
    objects = truth(60, 4)
    recording = staged(imagined(objects, Skill(0.7), 1), imagined(objects, Skill(0.4), 2))
    charts = count_charts(recording)
    total = sum(len(found) for found in recording.shown(0)) / 60
    assert sum(chart.means[0] for chart in charts) == pytest.approx(total)
    bars, most = disagreement_bars(recording)
    assert most == max(found.disagreements for found in recording.matches())
    assert max(bar.height for bar in bars) == pytest.approx(100)


def test_a_long_video_is_averaged() -> None:
    assert binned(np.arange(3_000.0)).shape == (MOST_POINTS,)
    assert binned(np.arange(3_000.0)).mean() == pytest.approx(1499.5)
    assert binned(np.array([3.0, 5.0])).tolist() == [3, 5]
    assert line(np.array([0, 2]), 2) == "M0 100.0V100.0H500.0V6.0H1000.0"


def test_gaps_of_an_object_are_open_stretches() -> None:
    objects = truth(80, 8, objects=1)
    there = [frame for frame, row in enumerate(objects) if len(row)]
    first = imagined(objects, Skill(0.9, 0, 0, 0, loose=0), 1)
    second = list(first)
    for frame in there[10:13] + there[20:22]:
        second[frame] = second[frame].above(1)
    (row,) = track_rows(recording := staged(first, second), gather(recording, (None, None)).witness)
    assert row.blinks == (0, 2)
    assert row.missing == pytest.approx((0, 5 / len(there)))
    assert [bar.kind for bar in row.bars[1]] == ["there", "gone", "there", "gone", "there"]


def test_the_table_says_who_is_ahead() -> None:
    objects = truth(60, 4)
    recording = staged(imagined(objects, Skill(0.8), 1), imagined(objects, Skill(0.3, confuses=0.4, invents=1.5), 2))
    table = {row.name: row for row in rows(gather(recording, (4.0, None)))}
    assert (table["agreement"].best, table["frames/s"].best, table["size"].best) == (0, 0, None)
    assert table["size"].values == ("4.0 MB", "–")
    assert table["frames/s"].values == ("50.0", "20.0")
    assert table["boxes per frame"].best is None


def test_times_are_written_as_players_write_them() -> None:
    assert [clock(seconds) for seconds in (0, 9.96, 61.25)] == ["0:00.0", "0:10.0", "1:01.2"]


def test_the_stylesheet_and_the_script_are_beside_the_template() -> None:
    folder = Path(page.__file__).parent
    assert {"page.css", "page.js", "page.html.j2"} <= {path.name for path in folder.iterdir()}
