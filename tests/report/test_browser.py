"""The page in a real browser. It is the page of a real run, a short one of the embedded model."""

import json
import os
import re
import shutil
from contextlib import contextmanager
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from mgrpo.report.page import write_report
from mgrpo.runs import metrics as names
from mgrpo.runs.files import read_run, series, write_completions

BROWSERS = ("chromium", "chromium-browser", "google-chrome")
DRAWN = "#panels[aria-busy=false]"
LAST = 40
HOSTILE_STEP, TEMPLATE_STEP = 12, 16
TEMPLATE = "Work step by step, then give a number:\n"
HOSTILE = (
    "<script>window.hit = 1</script>",
    "<img src=x onerror='window.hit = 2'>",
    "</script><script>window.hit = 3</script><!--",
    "<a href='javascript:window.hit=4'>javascript:window.hit=4</a> http://example.com/",
    "\x1b[31mred\x1b[0m\x07\x00\x9b2J",
    "\u202egnp.exe\u2066 \u200b\ufeff",
    "{{blocks}} ${window.hit = 5} &lt;b&gt;",
)
ALARM = {"step": 20, "kind": "alarm", "signals": ["vote/agreement"], "message": "Agreement <b>rose</b> to 0.98."}


@pytest.fixture(scope="module")
def browser():
    executable = os.environ.get("MGRPO_CHROMIUM") or next(filter(None, map(shutil.which, BROWSERS)), None)
    if executable is None:
        pytest.skip(f"no browser: neither MGRPO_CHROMIUM is set nor is {' or '.join(BROWSERS)} on the PATH")
    playwright = pytest.importorskip("playwright.sync_api").sync_playwright().start()
    try:
        started = playwright.chromium.launch(executable_path=executable, args=["--no-sandbox", "--disable-gpu"])
        yield started
        started.close()
    finally:
        playwright.stop()


@pytest.fixture
def open_page(browser):
    """Opens an address in a window of its own; what it logs and asks for is in `page.errors` and `page.asked`."""
    with opener(browser) as open_it:
        yield open_it


@pytest.fixture(scope="module")
def report_page(browser, report):
    """The report, opened once."""
    with opener(browser) as open_it:
        yield open_it(report)


@pytest.fixture(scope="module")
def comparison_page(browser, comparison):
    """The comparison, opened once."""
    with opener(browser) as open_it:
        yield open_it(comparison)


@pytest.fixture
def page(report_page):
    """The report as it is when it has just been opened."""
    return as_opened(report_page)


def as_opened(page, fragment=f"#step={LAST}&prompt=0"):
    """Undoes what the test before did to a page."""
    page.emulate_media(media="screen", color_scheme="light")
    page.locator("#search").fill("")
    page.locator("#smoothing").fill("0")
    for box in page.get_by_role("checkbox").all():
        box.uncheck()
    for button in page.locator("#legend [aria-pressed=false]").all():
        button.click()
    page.locator("#zoom-all").click()
    page.evaluate(f"document.activeElement.blur(); location.hash = ''; location.hash = '{fragment}'")
    step, prompt = re.findall("step=([0-9]+)&prompt=([0-9]+)", fragment)[0]
    wait_for_text(page, "#group h3", re.compile(f"^Step {step}, prompt {prompt}$"))
    page.wait_for_timeout(100)  # an address scrolls to the rollouts
    page.evaluate("scrollTo({top: 0, behavior: 'instant'})")
    return page


@contextmanager
def opener(browser):
    contexts = []

    def open_it(address, width=1280, height=900, scheme="light", script=None, **options):
        context = browser.new_context(viewport={"width": width, "height": height}, color_scheme=scheme, **options)
        contexts.append(context)
        page = context.new_page()
        page.errors, page.asked = [], []
        page.on("console", lambda message: page.errors.append(message.text) if message.type == "error" else None)
        page.on("pageerror", lambda error: page.errors.append(str(error)))
        page.on("request", lambda request: page.asked.append(request.url))
        page.on("dialog", lambda dialog: page.errors.append(f"dialog: {dialog.message}"))
        if script:
            page.add_init_script(script)
        page.set_default_timeout(10_000)
        path, _, fragment = address.partition("#")
        page.goto(address if "://" in address else f"{Path(path).as_uri()}#{fragment}")
        page.wait_for_selector(DRAWN, state="attached")
        return page

    yield open_it
    for context in contexts:
        context.close()


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """A run of 40 steps with the filter on and an alarm; hostile completions at step 12, a template at step 16."""
    from mgrpo.cli import main

    directory = tmp_path_factory.mktemp("runs") / "trained"
    settings = {"max_steps": LAST, "logging_steps": 2, "eval_steps": 10, "eval_dataset_size": 32, "dataset_size": 240}
    settings |= {"per_device_train_batch_size": 72, "probe_prompts": 4}  # 6 prompts a step
    arguments = [word for field, value in settings.items() for word in (f"--{field}", str(value))]
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("MGRPO_CACHE", str(tmp_path_factory.mktemp("cache")))
        assert main(["train", "--config", "embedded", "m-grpo", *arguments, "--output_dir", str(directory)]) == 0
    rows = table(directory, HOSTILE_STEP)
    for row, text in zip(rows, HOSTILE, strict=False):
        row.update(prompt=HOSTILE[0], completion=text, answer=text, pseudo_label=HOSTILE[1], right_answer=HOSTILE[2])
    for row in rows[len(HOSTILE) : 16]:
        row["prompt"] = HOSTILE[0]
    rows[16]["completion"] = "\n".join(f"line {i}" for i in range(30))
    write_completions(rows, directory, HOSTILE_STEP)
    rows = table(directory, TEMPLATE_STEP)
    for row in rows:
        row["prompt"] = TEMPLATE + row["prompt"]
    write_completions(rows, directory, TEMPLATE_STEP)
    (directory / "alarms.jsonl").write_text(json.dumps(ALARM) + "\n")
    return directory


@pytest.fixture(scope="module")
def report(run, tmp_path_factory):
    path = tmp_path_factory.mktemp("report") / "report.html"
    write_report([run], path)
    return str(path)


@pytest.fixture(scope="module")
def comparison(run, tmp_path_factory):
    """The run beside itself as an older version would have left it: fewer columns, no `group`."""
    old = tmp_path_factory.mktemp("older") / "old"
    (old / "completions").mkdir(parents=True)
    for name in ("metrics.jsonl", "config.yaml", "environment.json"):
        shutil.copy(run / name, old / name)
    newer = ("group", "answer_id", "num_tokens", "fence", "is_match", "is_tie", "right_answer")
    for step in (2, 30):
        rows = [{name: value for name, value in row.items() if name not in newer} for row in table(run, step)]
        write_completions(rows, old, step)
    path = tmp_path_factory.mktemp("comparison") / "comparison.html"
    write_report([run, old], path)
    return str(path)


def table(directory, step):
    return pq.read_table(directory / "completions" / f"step-{step:06d}.parquet").to_pylist()


def group_of(directory, step, prompt):
    return [row for row in table(directory, step) if row["group"] == prompt]


def traces(page, title):
    """The curves of a panel as plotly holds them."""
    panel = page.locator(".panel", has=page.locator("h3", has_text=title)).first
    return panel.locator(".graph").evaluate("g => g.data.map(({name, x, y, meta}) => ({name, x, y, meta}))")


def x_ranges(page):
    return page.evaluate("[...document.querySelectorAll('.graph')].map(g => g.layout.xaxis.range.join())")


def shown(page):
    return page.locator("#group h3").inner_text()


def matches(page):
    return page.locator("#match-count").inner_text()


def wait_for_text(page, selector, text):
    page.locator(selector).filter(has_text=text).wait_for(state="attached")


def zoom_by_dragging(page):
    from playwright.sync_api import expect

    last = page.locator("#zoom-to").input_value()
    box = page.locator(".graph").first.bounding_box()
    page.mouse.move(box["x"] + 100, box["y"] + 80)
    page.mouse.down()
    page.mouse.move(box["x"] + 180, box["y"] + 80, steps=4)
    page.mouse.up()
    expect(page.locator("#zoom-to")).not_to_have_value(last)


def test_opens_from_disk_and_asks_no_host(report, open_page):
    page = open_page(report)
    assert page.errors == []
    assert [url for url in page.asked if not url.startswith(("file:", "data:", "blob:"))] == []
    assert "held-out accuracy began at" in page.locator("#verdicts h3").inner_text()
    assert page.locator("#state").inner_text() == "finished"
    assert "step 40 of 40" in page.locator("#verdicts").inner_text()
    page.get_by_text("Recipe", exact=True).click()
    assert "task: embedded:chains" in page.locator("#recipe pre").first.inner_text()
    page.get_by_text("Environment", exact=True).click()
    assert "packages.torch" in page.locator("#environment").inner_text()


def test_curves_have_the_logged_points(run, page):
    steps, values = series(read_run(run), names.AGREEMENT)
    agreement = traces(page, "Agreement and accuracy")[0]
    assert (agreement["x"], agreement["y"]) == (steps, pytest.approx(values, rel=1e-5))
    accuracy = traces(page, "Held-out accuracy")[0]
    assert accuracy["x"] == [0, 10, 20, 30, 40]
    assert len(traces(page, "Entropy")) == 3  # lower and upper end of the band, mean
    assert len(traces(page, "Time of a step")) == 4
    marked = page.locator(".panel", has=page.locator(".measured")).locator("h3").all_inner_texts()
    assert any(title.startswith("Held-out accuracy") for title in marked)
    assert page.locator(".graph").first.get_attribute("aria-label").startswith("Held-out accuracy. ")


def test_smoothing_and_logarithm(page):
    # Weights 1/2 on the past: (1/2 * 1) / (1/2 + 1/4) = 2/3; the start pulls nothing towards 0.
    assert page.evaluate("smoothed([0, 1], 0.5)") == [0, pytest.approx(2 / 3)]
    assert page.evaluate("smoothed([3, 3, 3], 0.9)") == pytest.approx([3, 3, 3])
    raw = traces(page, "Gradient norm")
    page.locator("#smoothing").fill("0.5")
    faint, smooth = traces(page, "Gradient norm")
    assert faint["y"] == raw[0]["y"]
    assert smooth["y"] == pytest.approx(page.evaluate("y => smoothed(y, 0.5)", raw[0]["y"]))
    page.get_by_label("Logarithmic").check()
    types = page.evaluate("[...document.querySelectorAll('.graph')].map(g => g.layout.yaxis.type)")
    assert types.count("linear") == 1  # the stacked times


def test_zoom_is_linked(page):
    whole = x_ranges(page)
    assert len(whole) > 8
    assert len(set(whole)) == 1
    zoom_by_dragging(page)
    zoomed = x_ranges(page)
    assert len(set(zoomed)) == 1
    assert zoomed != whole
    page.locator(".graph .nsewdrag").nth(2).dblclick()
    assert x_ranges(page) == whole
    page.locator("#zoom-from").fill("10")  # by keyboard
    page.locator("#zoom-from").press("Enter")
    assert set(x_ranges(page)) == {"10,40"}
    page.locator("#zoom-all").click()
    assert x_ranges(page) == whole


def test_hovering_and_the_legend_are_for_all_runs(comparison_page):
    page = as_opened(comparison_page)
    page.locator(".graph .nsewdrag").nth(1).hover()
    label = page.locator(".graph .hoverlayer .legend")
    label.wait_for()
    assert "trained" in label.text_content()
    assert "old" in label.text_content()
    assert "step" in label.text_content()
    assert {trace["name"] for trace in traces(page, "Gradient norm")} == {"trained", "old"}
    page.locator("#legend button", has_text="old").click()
    assert [trace["name"] for trace in traces(page, "Gradient norm")] == ["trained"]


def test_alarms_and_points_lead_to_their_rollouts(page):
    assert "Agreement <b>rose</b> to 0.98. (vote/agreement)" in page.locator(".alarms").inner_text()
    lines = page.evaluate("[...document.querySelectorAll('.graph')].map(g => g.layout.shapes.map(s => s.x0).join())")
    assert set(lines) == {"20"}
    page.locator(".alarms a").click()
    wait_for_text(page, "#group h3", "Step 20, prompt 0")
    page.evaluate("scrollTo(0, 0)")
    at = page.locator(".graph").nth(1).evaluate("g => g._fullLayout.xaxis._offset + g._fullLayout.xaxis.d2p(18)")
    page.locator(".graph").nth(1).hover(position={"x": at, "y": 60})
    page.locator(".graph .hoverlayer .legend").wait_for()
    page.mouse.down()
    page.mouse.up()
    wait_for_text(page, "#group h3", "Step 18, prompt 0")
    page.wait_for_url("**#step=18&prompt=0")


def test_the_list_of_prompts_begins_where_they_differ(report_page, run):
    page = as_opened(report_page, f"#step={TEMPLATE_STEP}&prompt=0")
    prompts = dict.fromkeys(row["prompt"] for row in table(run, TEMPLATE_STEP))
    texts = page.locator(".prompt .text").all_inner_texts()
    assert texts == [f"… {prompt.removeprefix(TEMPLATE)}" for prompt in prompts] and len(set(texts)) > 1
    assert page.locator(".question").inner_text() == next(iter(prompts))
    page = as_opened(report_page, "#step=30&prompt=0")  # of prompts that share nothing all is shown
    assert page.locator(".prompt .text").first.inner_text() == group_of(run, 30, 0)[0]["prompt"]


def test_a_group_is_shown_as_its_table_has_it(report_page, run):
    page = as_opened(report_page, "#step=30&prompt=5")
    group = group_of(run, 30, 5)
    assert shown(page) == "Step 30, prompt 5"
    assert page.locator(".question").inner_text() == group[0]["prompt"]
    assert page.locator("td.completion").all_inner_texts() == [row["completion"] for row in group]
    models = page.locator(".completions [data-title=model]").all_inner_texts()
    assert models == [row["model"] for row in group]
    kept = page.locator(".completions [data-title=filter]").all_inner_texts()
    assert kept == ["kept" if row["kept"] else "dropped" for row in group]
    num_right = sum(row["is_right"] for row in group)
    assert page.locator(".completions .right").count() == num_right
    facts = page.locator(".facts").inner_text()
    assert f"{sum(row['is_match'] for row in group)} of 16" in facts
    assert group[0]["right_answer"] in facts
    # The label's line has its votes by model, without the dropped ones.
    voters = [row for row in group if row["is_match"] and row["kept"]]
    counts = [sum(row["model"] == model for row in voters) for model in ("policy", "momentum")]
    cells = page.locator(".votes .is-label .count").all_inner_texts()
    assert [0 if cell == "·" else int(cell) for cell in cells][:2] == counts
    assert page.locator(".strip .mark").count() == 16
    assert page.locator(".strip .mark.hollow").count() == sum(not row["kept"] for row in group)
    assert page.locator(".strip .fence").count() == 1


def test_older_runs_say_what_was_not_recorded(comparison_page):
    page = as_opened(comparison_page, "#run=old&step=30&prompt=5")
    assert page.locator("#run option:checked").inner_text() == "old"
    assert "Not recorded by this run: tokens" in page.locator(".completions").inner_text()
    assert "fence not recorded" in page.locator(".entropy").inner_text()
    assert page.locator(".facts").inner_text().count("not recorded") == 2  # right answer, tie
    assert page.locator("td.completion").count() == 16
    assert shown(page) == "Step 30, prompt 5"


def test_permalink_and_keyboard(report, open_page):
    page = open_page(f"{report}#step=30&prompt=5")
    page.keyboard.press("ArrowRight")
    wait_for_text(page, "#group h3", "Step 32, prompt 5")
    page.keyboard.press("ArrowUp")
    wait_for_text(page, "#group h3", "Step 32, prompt 4")
    page.wait_for_url("**#step=32&prompt=4")
    page.keyboard.press("ArrowLeft")
    page.keyboard.press("ArrowDown")
    wait_for_text(page, "#group h3", "Step 30, prompt 5")
    page.locator("#search").focus()
    page.keyboard.press("ArrowLeft")  # moves the cursor in the field
    assert shown(page) == "Step 30, prompt 5"
    page.evaluate("location.hash = '#step=7&prompt=2'")
    wait_for_text(page, "#group h3", "prompt 2")
    assert shown(page) in ("Step 6, prompt 2", "Step 8, prompt 2")  # the nearest that was recorded
    wait_for_text(page, "#announcement", "Step 7 has no completions")
    page.evaluate("location.hash = '#step=nonsense'")
    assert page.errors == []


def test_up_and_down_scroll_the_page_where_the_rollouts_are_not_in_view(page):
    page.keyboard.press("ArrowDown")
    page.keyboard.press("ArrowLeft")
    wait_for_text(page, "#group h3", "Step 38, prompt 0")


def test_search_goes_through_all_texts(page):
    page.locator("#search").fill("LINE 29")
    wait_for_text(page, "#match-count", "1 prompt")
    page.locator("#search").press("Enter")
    wait_for_text(page, "#group h3", f"Step {HOSTILE_STEP}, prompt 1")
    assert matches(page) == "1 of 1"
    assert page.locator("mark").all_inner_texts() == ["line 29"]
    assert page.locator(".more").count() == 0  # not collapsed: the match would be out of sight
    page.locator("#search").fill("")
    wait_for_text(page, ".more", "show all")
    page.locator(".more").click()
    assert page.locator(".collapsed").count() == 0
    page.locator("#search").fill("no such text")
    wait_for_text(page, "#match-count", "no match")


FILTERS = {
    "wrong label": lambda row: row["pseudo_label"] not in (None, row["right_answer"]),
    "unlabelled": lambda row: row["pseudo_label"] is None,
    "tie": lambda row: row["is_tie"],
    "dropped": lambda row: not row["kept"],
}


def test_filters_find_their_groups(make_run, tmp_path, open_page):
    directory = make_run(steps=(10, 20, 30))
    rows = table(directory, 20)
    for row in rows[3:]:
        row.update(pseudo_label=None, answer=None, answer_id=-1, is_match=False, is_tie=False)
    write_completions(rows, directory, 20)
    write_report([directory], tmp_path / "report.html")
    groups = [(step, prompt) for step in (10, 20, 30) for prompt in (0, 1)]
    page = open_page(f"{tmp_path}/report.html")
    for name, holds in FILTERS.items():
        expected = [group for group in groups if any(map(holds, group_of(directory, *group)))]
        assert 0 < len(expected) < len(groups)
        page.evaluate("location.hash = '#step=30&prompt=1'")
        wait_for_text(page, "#group h3", "Step 30, prompt 1")
        page.get_by_role("checkbox", name=name).check()
        found = []
        for i in range(len(expected)):  # from the last group the next match is the first one
            page.locator("#match-after").click()
            wait_for_text(page, "#match-count", f"{i + 1} of {len(expected)}")
            found.append(shown(page))
        assert found == [f"Step {step}, prompt {prompt}" for step, prompt in expected]
        page.locator("#match-before").click()
        before = (len(expected) - 2) % len(expected)
        wait_for_text(page, "#match-count", f"{before + 1} of {len(expected)}")
        page.wait_for_url("**#step={}&prompt={}".format(*expected[before]))
        page.get_by_role("checkbox", name=name).uncheck()
    page.get_by_role("checkbox", name="wrong label").check()
    page.get_by_role("checkbox", name="dropped").check()
    page.get_by_role("checkbox", name="tie").check()
    wait_for_text(page, "#match-count", "no match")  # all that are checked must hold


def test_hostile_completions_run_nothing_and_show_as_text(report, open_page):
    page = open_page(f"{report}#step={HOSTILE_STEP}&prompt=0")
    texts = page.locator("td.completion").all_inner_texts()
    assert texts[:4] == list(HOSTILE[:4])
    assert texts[4] == "␛[31mred␛[0m␇␀⟨U+009B⟩2J"
    assert texts[5] == "⟨U+202E⟩gnp.exe⟨U+2066⟩ ⟨U+200B⟩⟨U+FEFF⟩"
    assert texts[6] == HOSTILE[6]
    text = "half a pair \\ud800, \\t a tab, 👩\\u200d🔬"
    assert page.evaluate(f"visible('{text}')") == "half a pair ⟨U+D800⟩, \t a tab, 👩\u200d🔬"
    assert page.locator(".question").inner_text() == HOSTILE[0]
    assert page.evaluate("window.hit") is None
    assert page.locator("#rollouts a, #rollouts img, #rollouts script").count() == 0
    page.locator("#search").fill("<SCRIPT>")
    wait_for_text(page, "#match-count", "1 of 1")
    assert set(page.locator("mark").all_inner_texts()) == {"<script>"}
    assert page.evaluate("window.hit") is None
    assert page.errors == []
    # Were it markup after all, the policy would still refuse to run it.
    page.evaluate("""new Promise((done) => {
      document.addEventListener('securitypolicyviolation', done);
      document.body.insertAdjacentHTML('beforeend', `<img src=x onerror='window.hit = 6'>`);
    })""")
    assert page.evaluate("window.hit") is None


def test_hostile_names_of_runs(make_run, tmp_path, open_page):
    runs = [make_run("<img src=x onerror='window.hit=7'>"), make_run("<b>b \u202e &lt;")]
    write_report(runs, tmp_path / "report.html")
    page = open_page(f"{tmp_path}/report.html")
    assert page.locator("#legend button").all_inner_texts()[1].strip() == "<b>b ⟨U+202E⟩ &lt;"
    page.locator(".graph .nsewdrag").first.hover()
    label = page.locator(".graph .hoverlayer .legend")
    label.wait_for()
    assert "<b>b ⟨U+202E⟩ &lt;" in label.text_content()
    assert page.evaluate("window.hit") is None


# The contrast of each piece of text with the first opaque background behind it, as WCAG 2.2 defines it.
CONTRASTS = """() => {
  const canvas = Object.assign(document.createElement('canvas'), {width: 1, height: 1}).getContext('2d');
  const parse = (colour) => {
    canvas.clearRect(0, 0, 1, 1); canvas.fillStyle = colour; canvas.fillRect(0, 0, 1, 1);
    return [...canvas.getImageData(0, 0, 1, 1).data];
  };
  const luminance = ([r, g, b]) => [r, g, b]
    .map((c) => c / 255).map((c) => (c <= 0.04045 ? c / 12.92 : ((c + 0.055) / 1.055) ** 2.4))
    .reduce((sum, c, i) => sum + c * [0.2126, 0.7152, 0.0722][i], 0);
  const ratio = (a, b) => {
    const [high, low] = [luminance(a), luminance(b)].sort((x, y) => y - x);
    return (high + 0.05) / (low + 0.05);
  };
  const behind = (element) => {
    for (let e = element; e; e = e.parentElement) {
      const colour = parse(getComputedStyle(e).backgroundColor);
      if (colour[3] === 255) return colour;
    }
  };
  const walker = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
  const low = [], seen = new Set();
  for (let node = walker.nextNode(); node; node = walker.nextNode()) {
    const element = node.parentElement;
    if (!node.data.trim() || !element.checkVisibility() || element.matches('script, style, button:disabled')) continue;
    const style = getComputedStyle(element);
    const colour = element instanceof SVGElement ? style.fill : style.color;
    const found = ratio(parse(colour), behind(element));
    seen.add(element.className);
    if (found < 4.5) low.push([node.data.slice(0, 30), colour, found.toFixed(2)].join(' '));
  }
  const background = behind(document.body);
  const colours = coloursNow();
  const series = SERIES.map((name) => parse(colours[name]));
  const lines = [...series, parse(getComputedStyle(document.querySelector('#search')).borderTopColor)];
  return {low, seen: seen.size, series: series.map(String), lines: lines.map((c) => ratio(c, background))};
}"""


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_contrast(comparison_page, scheme):
    page = as_opened(comparison_page, f"#run=trained&step={HOSTILE_STEP}&prompt=0")
    page.emulate_media(color_scheme=scheme)
    page.locator("#search").fill("script")
    page.locator("mark").first.wait_for()
    page.get_by_role("checkbox", name="wrong label").check()
    page.get_by_text("Recipe", exact=True).click()
    page.locator(".about summary").first.click()
    measured = page.evaluate(CONTRASTS)
    page.get_by_text("Recipe", exact=True).click()
    page.locator(".about summary").first.click()
    assert measured["low"] == []
    assert measured["seen"] > 20
    assert min(measured["lines"]) >= 3
    assert len(set(measured["series"])) == 7


def test_dark_by_button(page):
    assert page.evaluate("getComputedStyle(document.documentElement).backgroundColor") == "rgb(255, 255, 255)"
    light = page.locator(".graph").first.evaluate("g => g.layout.font.color")
    page.get_by_role("button", name="Dark").click()
    assert page.locator("#scheme").inner_text() == "Light"  # what it changes to
    assert page.evaluate("getComputedStyle(document.documentElement).backgroundColor") == "rgb(21, 24, 28)"
    assert page.locator(".graph").first.evaluate("g => g.layout.font.color") != light
    page.get_by_role("button", name="Light").click()
    assert page.locator(".graph").first.evaluate("g => g.layout.font.color") == light


def test_on_paper_everything_is_drawn_and_light(page):
    from playwright.sync_api import expect

    page.emulate_media(media="print", color_scheme="dark")
    expect(page.locator("html")).to_have_css("background-color", "rgb(255, 255, 255)")
    assert page.locator(".graph .main-svg").count() >= page.locator(".graph").count() > 8
    assert not page.locator("#scheme").is_visible() and not page.locator("#search").is_visible()
    # The light scheme's quiet text.
    assert page.locator(".graph").first.evaluate("g => g.layout.font.color") == "rgb(89, 98, 109)"
    page.emulate_media(media="screen", color_scheme="dark")
    expect(page.locator("html")).to_have_css("background-color", "rgb(21, 24, 28)")


def test_labels_of_heights_are_inside_their_graphs(make_run, tmp_path, open_page):
    write_report([make_run(kl=0.000123456), make_run("other", kl=0.000125)], tmp_path / "report.html")
    page = open_page(f"{tmp_path}/report.html")
    outside = page.evaluate("""[...document.querySelectorAll('.graph')].flatMap((graph) => {
      const left = graph.getBoundingClientRect().left - 0.5;
      return [...graph.querySelectorAll('.ytick text')].filter((tick) => tick.getBoundingClientRect().left < left);
    }).length""")
    assert outside == 0


def test_an_evaluation_does_not_look_like_training(make_run, tmp_path, open_page):
    directory = make_run("samples", steps=[40], **{"gold/accuracy": 0.5})
    (directory / "samples.jsonl").touch()
    write_report([directory], tmp_path / "report.html")
    page = open_page(f"{tmp_path}/report.html")
    assert page.locator("h1").inner_text() == "mgrpo evaluation"
    assert "50.0%" in page.locator("#results").inner_text()
    assert not page.locator("#curves").is_visible()
    assert "alarm" not in page.locator("#overview").inner_text()
    assert page.locator("#group h3").inner_text() == "Step 40, prompt 0"
    assert page.errors == []


OBSERVE_SHIFTS = """window.shifts = 0;
new PerformanceObserver((list) => list.getEntries().forEach((entry) => { window.shifts += entry.value; }))
  .observe({type: 'layout-shift', buffered: true});"""


@pytest.mark.parametrize("width", [1280, 360])
def test_nothing_jumps_and_nothing_reaches_out_sideways(comparison, width, open_page):
    page = open_page(comparison, width=width, script=OBSERVE_SHIFTS)
    page.locator("#rollouts").scroll_into_view_if_needed()
    page.locator("#group h3").wait_for()
    assert page.evaluate("window.shifts") < 0.05
    assert page.evaluate("document.documentElement.scrollWidth") <= width
    page.evaluate(f"location.hash = '#run=trained&step={HOSTILE_STEP}&prompt=0'")
    wait_for_text(page, "#group h3", f"Step {HOSTILE_STEP}")
    page.get_by_text("Recipe", exact=True).click()
    page.get_by_text("Environment", exact=True).click()
    assert page.evaluate("document.documentElement.scrollWidth") <= width


def test_everything_is_reached_by_the_tab_key(report, open_page):
    page = open_page(report)
    outlines = {}
    page.get_by_role("checkbox", name="dropped").check()  # so that there are matches to go to
    wait_for_text(page, "#match-count", "prompts")
    page.locator(".skip").focus()
    for _ in range(120):
        page.keyboard.press("Tab")
        name, outline = page.evaluate("""(() => {
          const reached = document.activeElement;
          const name = reached.id || `${reached.tagName} ${reached.getAttribute('aria-label') ?? reached.textContent}`;
          return [name, getComputedStyle(reached).outlineStyle];
        })()""")
        outlines[name] = outline
        if name == "match-after":
            break
    controls = {"scheme", "smoothing", "logarithmic", "zoom-from", "zoom-all", "step", "step-slider", "search"}
    assert controls <= outlines.keys()
    assert "SUMMARY About Gradient norm" in outlines
    assert set(outlines.values()) <= {"solid", "auto"}  # the last is the browser's own, of checkboxes and sliders


@pytest.fixture
def serve(start_server):
    """Serves the page of a run; returns its address and what ends it."""

    def serve(directory):
        server, end = start_server(directory)
        return server.url, end

    return serve


def log(directory, step, agreement):
    with (directory / "metrics.jsonl").open("a") as metrics:
        metrics.write(json.dumps({"step": step, "vote/agreement": agreement}) + "\n")


def test_the_live_page_of_a_run_that_starts(serve, tmp_path, open_page):
    (tmp_path / "config.yaml").write_text("task: gsm8k\nmax_steps: 100\n")
    page = open_page(serve(tmp_path)[0])
    assert page.locator("#state").inner_text() == "starting, no step logged yet"
    assert page.locator("#panels").inner_text() == "No step has been logged yet."
    assert "No completions yet." in page.locator("#nothing-recorded").inner_text()
    log(tmp_path, 10, 0.25)
    wait_for_text(page, "#state", "running, step 10 of 100")
    assert traces(page, "Agreement and accuracy")[0]["y"] == [0.25]
    assert page.errors == []


def test_the_live_page_follows_its_run_and_keeps_what_its_reader_did(serve, make_run, open_page):
    directory = make_run(steps=(10, 20), recipe="task: gsm8k\nmax_steps: 100\n")
    address, end = serve(directory)
    page = open_page(address)
    assert page.locator("#state").inner_text().startswith("running, step 20 of 100, updated ")
    page.locator("#step-before").click()
    wait_for_text(page, "#group h3", "Step 10, prompt 0")
    page.locator("#search").fill("so #7")
    wait_for_text(page, "#match-count", "1 of 2")
    zoom_by_dragging(page)
    zoomed, scrolled = x_ranges(page), page.evaluate("scrollY")
    write_completions(table(directory, 20), directory, 30)
    log(directory, 30, 0.75)
    wait_for_text(page, "#state", "step 30 of 100")
    assert traces(page, "Agreement and accuracy")[0]["y"] == [0.5, 0.5, 0.75]
    assert x_ranges(page) == zoomed
    assert page.evaluate("scrollY") == scrolled
    assert shown(page) == "Step 10, prompt 0"
    assert page.locator("#search").input_value() == "so #7"
    wait_for_text(page, "#match-count", "1 of 3")
    page.locator("#step").fill("30")
    page.locator("#step").press("Enter")
    wait_for_text(page, "#group h3", "Step 30, prompt 0")
    assert page.errors == []
    end()
    wait_for_text(page, "#state", "connection lost, trying again")
    assert {url.partition("?")[0].rpartition(":")[0] for url in page.asked} <= {"http://127.0.0.1", "data"}
