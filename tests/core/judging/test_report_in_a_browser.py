"""The page in a browser: the 3D view draws and reacts to clicks, and the console has no errors."""

import json
import re
import shutil
import subprocess
from html import unescape

import pytest

from mlff_core.judging.evaluate import evaluate
from mlff_core.judging.report.page import ReportedModel, page
from mlff_core.judging.report.worst import worst_structures

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")

pytestmark = pytest.mark.skipif(CHROMIUM is None, reason="chromium is not installed")

# Counts the painted pixels of a copy of the canvas, then clicks as a user does.
PROBE = """<script>
const canvas = document.querySelector("canvas"), rows = document.querySelectorAll(".worst tbody tr");
const painted = () => {
  const copy = document.createElement("canvas");
  copy.width = canvas.width;
  copy.height = canvas.height;
  const context = copy.getContext("2d", { willReadFrequently: true });
  context.drawImage(canvas, 0, 0);
  const data = context.getImageData(0, 0, copy.width, copy.height).data;
  const colours = new Set();
  let pixels = 0, sum = 0;
  for (let k = 0; k < data.length; k += 4)
    if (data[k + 3]) { pixels++; colours.add(data[k] << 16 | data[k + 1] << 8 | data[k + 2]); sum += k % 10007; }
  return { pixels, colours: colours.size, sum, all: canvas.width * canvas.height };
};
const seen = { first: painted() };
const boxes = document.querySelectorAll(".worst input");
boxes.forEach(box => box.click());
seen.no_arrows = painted();
boxes.forEach(box => box.click());
rows[1].click();
seen.second = painted();
seen.chosen = [...rows].map(row => row.className);
seen.images = [...document.images].map(image => image.complete && image.naturalWidth > 0);
const result = document.createElement("p");
result.id = "probe";
result.textContent = JSON.stringify(seen);
document.body.append(result);
</script></body>"""


@pytest.fixture(name="text", scope="module")
def fixture_text(springs, labelled_file):
    data, student = labelled_file(n_molecules=8), springs(k=24.0)
    evaluation = evaluate(student, data)
    return page([ReportedModel(evaluation, worst_structures(evaluation, data, student))])


@pytest.fixture(name="shown", scope="module")
def fixture_shown(tmp_path_factory):
    def show(text):
        """Return the page after its scripts have run, and the messages on the console."""
        folder = tmp_path_factory.mktemp("page")
        (folder / "report.html").write_text(text, encoding="utf-8")
        flags = ["--headless", "--no-sandbox", "--disable-gpu", "--no-first-run", "--disable-background-networking"]
        output = ["--enable-logging=stderr", "--log-level=0", "--virtual-time-budget=2000", "--dump-dom"]
        run = subprocess.run(
            [CHROMIUM, *flags, f"--user-data-dir={folder / 'profile'}", *output, (folder / "report.html").as_uri()],
            capture_output=True,
            text=True,
            timeout=300,
            check=True,
        )
        return run.stdout, [line for line in run.stderr.splitlines() if "CONSOLE" in line]

    return show


def test_the_worst_structures_are_drawn_and_can_be_chosen(text, shown):
    dom, console = shown(text.replace("</body>", PROBE))
    assert console == []
    seen = json.loads(unescape(re.search(r'<p id="probe">(.*?)</p>', dom).group(1)))
    # Balls are shaded, so a drawn molecule has many colours, and leaves room around it.
    assert seen["first"]["colours"] > 50
    assert 0.01 < seen["first"]["pixels"] / seen["first"]["all"] < 0.9
    assert seen["no_arrows"]["sum"] != seen["first"]["sum"]
    assert seen["second"]["sum"] != seen["first"]["sum"]
    assert seen["second"]["colours"] > 50
    assert [k for k, name in enumerate(seen["chosen"]) if name == "chosen"] == [1]
    assert seen["images"]
    assert all(seen["images"])


def test_a_script_that_breaks_is_seen_on_the_console(text, shown):
    _, console = shown(text.replace("function Viewer(canvas) {", "function Viewer(canvas) { nothing.there();"))
    assert any("nothing is not defined" in line for line in console)
