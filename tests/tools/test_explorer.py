"""The explorer in a real browser: every panel draws, reacts, and computes what Keras computes."""

import dataclasses
import json
import re
import statistics

import numpy as np
import pytest
from conftest import ROOT, load_script, read_json

from lib.data import datasets
from lib.run import export
from tools import networks

for package in (*export.PACKAGES, "playwright"):
    pytest.importorskip(package, reason="requirements-dev.txt is not installed")

import build_explorer  # noqa: E402
import explorer_files  # noqa: E402
import explorer_results  # noqa: E402
import explorer_sources  # noqa: E402

pytest.register_assert_rewrite("explorer_page")
from explorer_page import MARKS, PATIENCE, open_page, start_panel  # noqa: E402
from exported import networks_of  # noqa: E402

POLLING = 50  # milliseconds
CARS = build_explorer.MODELS["car"]
PANELS = [*build_explorer.MODELS]
GANS = ("dcgan_mnist", "wgan_mnist", "lsgan_mnist", "cgan_mnist", "acgan_mnist", "infogan_mnist")
pytestmark = MARKS
pytest_plugins = ["explorer_page"]  # its fixtures


@pytest.fixture(scope="module")
def page(browser, address):
    """The page after every panel has started and every network has computed."""
    page = open_page(browser, address)
    for name in PANELS:
        start_panel(page, name)
    for model in (*CARS, "car_a2c", "vae_cnn_mnist-decoder"):
        page.locator(f"input[value={model}]").check(force=True)
        page.wait_for_function("model => explorer.last[model]", arg=model)
    yield page
    page.context.close()


SHOWN = """panel => [
  ...document.querySelectorAll(`#${panel} canvas, #${panel} svg, #${panel} .update`),
].map(each => each.toDataURL?.() ?? each.innerHTML).join()"""


def pictures(page, panel):
    """What the pictures of a panel show, and the latest update of the Q-table, as one text."""
    return page.evaluate(f"({SHOWN})({json.dumps(panel)})")


def changes(page, panel, act):
    """Waits until `act` has changed the pictures of a panel."""
    before = pictures(page, panel)
    act()
    page.wait_for_function(
        f"([panel, before]) => before !== ({SHOWN})(panel)",
        arg=[panel, before],
        polling=POLLING,
    )


def wait_for_text(page, selector, text):
    """Waits until an element has a text; live regions change once a second at most."""
    page.wait_for_function(
        "([selector, text]) => document.querySelector(selector).textContent.includes(text)",
        arg=[selector, text],
    )


# Drawing


def test_every_panel_draws(page):
    empty = page.evaluate(
        """() => [...document.querySelectorAll(".panel[data-state] canvas")].filter(canvas => {
          const blank = document.createElement("canvas");
          [blank.width, blank.height] = [canvas.width, canvas.height];
          return canvas.toDataURL() === blank.toDataURL();
        }).map(canvas => canvas.className)"""
    )
    assert empty == []
    assert page.locator("#qlearning svg polygon").count() == 16
    for name in set(PANELS) - {"qlearning"}:
        wait_for_text(page, f"#{name} .status", "\N{NO-BREAK SPACE}ms")


@pytest.mark.parametrize("width", [390, 1280])
@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_nothing_is_wider_than_the_window(browser, address, width, scheme):
    page = open_page(browser, address, width, scheme)
    start_panel(page, "draw")
    assert page.evaluate("document.documentElement.scrollWidth") == width
    background = page.evaluate("getComputedStyle(document.body).backgroundColor")
    assert (background == "rgb(19, 21, 23)") == (scheme == "dark")
    assert page.faults == []
    page.context.close()


@pytest.mark.parametrize(("width", "height"), [(768, 1024), (390, 844)])
def test_the_results_of_a_drawing_are_in_the_window(browser, address, width, height):
    page = open_page(browser, address, width)
    page.set_viewport_size({"width": width, "height": height})
    start_panel(page, "draw")
    top = "document.querySelector('#draw {}').getBoundingClientRect().top"
    distance = page.evaluate(f"{top.format('.seen')} - {top.format('.pad')}")
    assert distance < 0.5 * height
    page.context.close()


def test_everything_that_can_be_used_has_a_name(page):
    nameless = page.evaluate(
        """() => [...document.querySelectorAll("button, input, canvas[tabindex], div[tabindex]")]
        .filter(e => !(e.getAttribute("aria-label") || e.innerText))
        .filter(e => !e.closest("label")?.innerText && e.checkVisibility())
        .map(e => e.outerHTML)"""
    )
    assert nameless == []


# What the networks compute


def keras_output(model, inputs):
    """What Keras computes for the inputs of an exported file."""
    (name,) = (name for name in networks.PRETRAINED if explorer_files.made_by(name, model))
    network = networks_of(name)[model.removeprefix(name)]
    arrays = [
        np.array(inputs[tensor]["data"], "float32").reshape(inputs[tensor]["dims"])
        for tensor in export.tensor_names(network)[0]
    ]
    return np.asarray(network(arrays if len(arrays) > 1 else arrays[0]))


def last(page, model):
    """The latest inputs and output of a network in the page."""
    return page.evaluate(
        """model => {
          const plain = tensors => Object.fromEntries(Object.entries(tensors)
            .map(([name, {data, dims}]) => [name, {data: [...data], dims: [...dims]}]));
          const {inputs, outputs} = explorer.last[model];
          return [plain(inputs), plain(outputs)];
        }""",
        model,
    )


@pytest.mark.parametrize("model", build_explorer.every_model())
def test_the_browser_computes_what_keras_computes(page, model):
    inputs, outputs = last(page, model)
    expected = keras_output(model, inputs)
    found = np.array(outputs["output"]["data"]).reshape(outputs["output"]["dims"])
    np.testing.assert_allclose(found, expected, atol=1e-3)


def test_one_seed_gives_one_noise(page):
    noise = "[...explorer.random.uniform(explorer.random.generator(0), 800)]"
    made = page.evaluate(noise)
    assert made == page.evaluate(noise)
    assert abs(np.mean(made)) < 0.1
    assert np.std(made) == pytest.approx(np.sqrt(1 / 3), abs=0.03)
    normal = page.evaluate("[...explorer.random.normal(explorer.random.generator(1), 4000, 0.5)]")
    assert np.std(normal) == pytest.approx(0.5, abs=0.02)
    page.locator("#noise .between").evaluate(
        "e => { e.value = 0; e.dispatchEvent(new Event('input')); }"
    )
    inputs, _ = last(page, "dcgan_mnist")
    np.testing.assert_allclose(inputs["noise"]["data"], made, atol=1e-6)


def test_a_vae_draws_a_digit_in_20_ms_and_a_gan_in_100(page):
    measure = """async model => {
      const {inputs} = explorer.last[model];
      const one = Object.fromEntries(Object.entries(inputs).map(([name, {data, dims}]) =>
        [name, {data: data.slice(0, data.length / dims[0]), dims: [1, ...dims.slice(1)]}]));
      const times = [];
      for (let i = 0; i < 9; i++) {
        const started = performance.now();
        await explorer.run(model, one);
        times.push(performance.now() - started);
      }
      return times;
    }"""
    limits = {"vae_mlp_mnist-decoder": 20, "vae_cnn_mnist-decoder": 20, **dict.fromkeys(GANS, 100)}
    for model, limit in limits.items():
        found = statistics.median(page.evaluate(measure, model))
        print(f"{model}: {found:.1f} ms")
        assert found < limit, model


def test_an_error_is_a_line_in_the_panel(browser, address):
    context = browser.new_context(reduced_motion="reduce")
    context.set_default_timeout(PATIENCE)
    page = context.new_page()
    page.route("**/models/mlp_mnist.onnx.gz", lambda route: route.abort())
    page.goto(address)
    page.locator("#draw .load").click()
    page.wait_for_selector("#draw[data-state=error]")
    wait_for_text(page, "#draw .status", "This panel could not run")
    context.close()


# Controls


def wait_for_verdict(page, digit):
    """Waits until the CNN predicts a digit."""
    page.wait_for_function(
        "digit => document.querySelector('[data-model=cnn_mnist] .verdict b').innerText === digit",
        arg=str(digit),
        polling=POLLING,
    )


@pytest.mark.parametrize("digit", range(10))
def test_a_sample_digit_is_read(page, digit):
    page.get_by_label(f"sample {digit}", exact=True).click()
    wait_for_verdict(page, digit)


def test_drawing_with_the_mouse_and_with_the_keyboard(page):
    page.press("#draw .clear", "Enter")
    page.locator("#draw .pad").scroll_into_view_if_needed()
    box = page.locator("#draw .pad").bounding_box()
    middle = box["x"] + box["width"] / 2

    def stroke():
        page.mouse.move(middle, box["y"] + 40)
        page.mouse.down()
        page.mouse.move(middle, box["y"] + 240, steps=8)
        page.mouse.up()

    changes(page, "draw", stroke)
    wait_for_verdict(page, 1)
    page.locator("#draw .pad").focus()
    changes(page, "draw", lambda: page.keyboard.press("Delete"))
    page.keyboard.press("Space")
    changes(page, "draw", lambda: [page.keyboard.press("ArrowDown") for _ in range(5)])


def test_an_empty_pad_is_no_digit(page):
    page.press("#draw .clear", "Enter")
    page.wait_for_function(
        "[...document.querySelectorAll('#draw .verdict')].every(e => e.innerText === 'no digit')"
    )
    page.get_by_label("sample 3", exact=True).click()
    wait_for_verdict(page, 3)


def test_without_noise_the_picture_is_clean(page):
    set_slider = """([level, selector]) => {
      const slider = document.querySelector(selector);
      slider.value = level;
      slider.dispatchEvent(new Event("input"));
    }"""
    page.evaluate(set_slider, ["0", "#draw .level"])
    same = "document.querySelector('#draw .seen').toDataURL() === "
    page.wait_for_function(f"{same} document.querySelector('#draw .noisy').toDataURL()")
    page.evaluate(set_slider, ["0.5", "#draw .level"])
    page.wait_for_function(f"!({same} document.querySelector('#draw .noisy').toDataURL())")


def test_a_drawing_is_centered(page):
    x, y = page.evaluate(
        """async () => {
          const {centered} = await import("./pad.js");
          const pad = new OffscreenCanvas(280, 280);
          pad.getContext("2d").fillRect(20, 30, 40, 80);
          const digit = centered(pad);
          let [mass, x, y] = [0, 0, 0];
          digit.forEach((ink, i) => {
            mass += ink;
            x += ink * (i % 28 + 0.5);
            y += ink * (Math.floor(i / 28) + 0.5);
          });
          return [x / mass, y / mass];
        }"""
    )
    assert x == pytest.approx(14, abs=0.2)
    assert y == pytest.approx(14, abs=0.2)


CONTROLS = [
    ("draw", "#draw .level", "ArrowRight"),
    ("noise", "#noise .between", "ArrowRight"),
    ("noise", "#noise .fresh", "Enter"),
    ("digit", "#digit .fresh", "Enter"),
    ("digit", "#digit input[value='8']", "ArrowLeft"),
    ("infogan", "#infogan .code1", "End"),
    ("infogan", "#infogan .code2", "Home"),
    ("infogan", "#infogan .fresh", "Enter"),
    ("stackedgan", "#stackedgan .z1", "End"),
    ("stackedgan", "#stackedgan .z0", "Home"),
    ("plane", "#plane .map", "ArrowLeft"),
    ("color", "#color .photos button:first-child", "Enter"),
    ("qlearning", "#qlearning .step", "Enter"),
    ("qlearning", "#qlearning .many", "Enter"),
    ("qlearning", "#qlearning .reset", "Enter"),
    ("car", "#car .reset", "Enter"),
    ("car", "#car input[value=car_a2c]", "ArrowLeft"),
]


@pytest.mark.parametrize(("panel", "control", "key"), CONTROLS)
def test_a_control_works_by_keyboard(page, panel, control, key):
    if control == "#qlearning .reset":  # nothing to reset unless the agent has learned
        changes(page, panel, page.locator("#qlearning .step").click)
    changes(page, panel, lambda: page.press(control, key))


def test_a_hundred_episodes_do_not_freeze_the_page(page):
    def episodes():
        return int(page.inner_text("#qlearning .facts").split()[0])

    script = """() => {
      const started = performance.now();
      document.querySelector("#qlearning .many").click();
      return performance.now() - started;
    }"""
    before = episodes()
    # Drawing each of their 700 steps took more than half a second.
    assert min(page.evaluate(script) for _ in range(3)) < 250
    assert episodes() == before + 300


def test_the_plane_follows_the_mouse(page):
    page.locator("#plane .map").scroll_into_view_if_needed()
    box = page.locator("#plane .map").bounding_box()
    changes(page, "plane", lambda: page.mouse.move(box["x"] + 20, box["y"] + 20))
    assert "code −3" in page.inner_text("#plane .codes")


def test_the_plane_takes_taps_and_scrolls(page):
    def tap():
        page.evaluate(
            """() => {
              const map = document.querySelector("#plane .map");
              const {left, top} = map.getBoundingClientRect();
              const place = {clientX: left + 60, clientY: top + 60};
              map.dispatchEvent(new PointerEvent("pointerdown", place));
            }"""
        )

    changes(page, "plane", tap)
    style = "getComputedStyle(document.querySelector('#plane .map')).touchAction"
    assert page.evaluate(style) == "pan-y"


def test_walking_and_stopping(page):
    walk = page.locator("#noise .walk")
    # The walk once stopped here: its steps were smaller than those of the slider.
    page.locator("#noise .between").fill("0.38")
    changes(page, "noise", walk.click)
    page.wait_for_function("document.querySelector('#noise .between').value > 0.4")
    assert walk.inner_text() == "Stop"
    walk.click()
    assert walk.inner_text() == "Walk"


def test_a_picture_of_ones_own(page, tmp_path):
    from PIL import Image

    picture = tmp_path / "picture.png"
    ramp = np.linspace(0, 255, 300, dtype="uint8")
    Image.fromarray(np.dstack([np.tile(ramp, (200, 1))] * 3)).save(picture)
    changes(page, "color", lambda: page.set_input_files("#color .file", picture))
    page.wait_for_function("document.querySelector('#color .truth').width === 200")
    page.wait_for_function("document.querySelector('#color .cycle-full').width === 200")


def test_a_bad_file_is_forgotten_after_a_good_one(page, tmp_path):
    from PIL import Image

    (tmp_path / "bad.png").write_text("no picture")
    page.set_input_files("#color .file", tmp_path / "bad.png")
    page.wait_for_selector("#color[data-state=error]")
    Image.new("RGBA", (64, 64), (0, 0, 0, 0)).save(tmp_path / "clear.png")
    page.set_input_files("#color .file", tmp_path / "clear.png")
    page.wait_for_selector("#color[data-state=ready]")
    pixel = """[...document.querySelector("#color .truth").getContext("2d")
      .getImageData(5, 5, 1, 1).data]"""
    assert page.evaluate(pixel) == [255, 255, 255, 255]  # transparent is white, not black


def test_the_car_reaches_the_flag(page):
    page.locator("#car .play").scroll_into_view_if_needed()
    changes(page, "car", page.locator("#car .play").click)
    page.wait_for_function(
        "document.querySelector('#car .facts').innerText.includes('reached the flag')"
    )
    assert page.locator("#car .play").inner_text() == "Drive"


def test_a_reader_drives_the_car(page):
    page.locator("#car .human").check()
    page.keyboard.down("ArrowRight")
    page.wait_for_function("/step [1-9]/.test(document.querySelector('#car .facts').innerText)")
    changes(page, "car", lambda: None)
    page.keyboard.up("ArrowRight")
    page.locator("#car .human").uncheck()
    page.locator("#car .play").click()


def answered(page, text):
    page.wait_for_function(
        "text => document.querySelector('#noise .answer').innerText.includes(text)", arg=text
    )


def test_a_network_of_ones_own(page, site):
    exported = site.parent / "onnx"
    rows = """() => ["dcgan", "lsgan"].map(name => [
      ...document.querySelectorAll(`[data-model=${name}_mnist] canvas`),
    ].map(canvas => canvas.toDataURL()).join())"""
    page.locator("#noise .own summary").click()
    page.set_input_files("#noise .own input", exported / "mlp_mnist.onnx")
    answered(page, "has the inputs noise (batch, 100), this file has inputs (batch, 784)")
    page.set_input_files("#noise .own input", ROOT / "README.md")
    answered(page, "not an ONNX file")
    dcgan, lsgan = page.evaluate(rows)
    assert dcgan != lsgan
    changes(
        page,
        "noise",
        lambda: page.set_input_files("#noise .own input", exported / "lsgan_mnist.onnx"),
    )
    answered(page, "runs instead of dcgan_mnist")
    page.wait_for_function(f"(([a, b]) => a === b)(({rows})())")


def test_the_address_has_the_state(browser, address):
    search = "?infogan.code1=1.5&infogan.seed=4&digit.digit=2"
    page = open_page(browser, address, search=search)
    start_panel(page, "infogan")
    assert page.locator("#infogan .code1").input_value() == "1.5"
    page.wait_for_function("explorer.last.infogan_mnist.inputs.code1.data[0] === 1.5")
    noise = page.evaluate("[...explorer.last.infogan_mnist.inputs.noise.data]")
    assert noise == page.evaluate("[...explorer.random.uniform(explorer.random.generator(4), 620)]")
    page.press("#infogan .code2", "End")
    page.press("#infogan .fresh", "Enter")
    page.wait_for_url("**/?infogan.code1=1.5&infogan.seed=5&digit.digit=2&infogan.code2=2*")
    assert page.faults == []
    page.context.close()


# The numerics in JavaScript


def test_a_step_on_the_grid_is_that_of_the_script(page):
    script = load_script("chapter9-drl/q-learning-9.3.1.py")
    found = page.evaluate(
        """async () => {
          const {step} = await import("./gridworld.js");
          return [0, 1, 2, 3, 4, 5].map(s => [0, 1, 2, 3].map(a => Object.values(step(s, a))));
        }"""
    )
    for state in range(6):
        for action in range(4):
            assert tuple(found[state][action]) == script.step(state, action)


def test_the_table_learns_as_in_the_script(page):
    script = load_script("chapter9-drl/q-learning-9.3.1.py")
    moves, tables, epsilon = page.evaluate(
        """async () => {
          const {QAgent, START, step} = await import("./gridworld.js");
          const agent = new QAgent(explorer.random.generator(3));
          const moves = [];
          let wins = 0;
          for (let episode = 0; episode < 300; episode++) {
            for (let state = START, done = false; !done; ) {
              const action = agent.act(state);
              const found = step(state, action);
              agent.update(state, action, found.reward, found.next);
              moves.push([state, action]);
              ({next: state, done} = found);
            }
            agent.endEpisode();
          }
          return [moves, agent.table, agent.epsilon];
        }"""
    )
    agent = script.QAgent(0)
    for state, action in moves:
        following, reward, _ = script.step(state, action)
        agent.update_q_table(state, action, reward, following)
    np.testing.assert_allclose(tables, agent.q_table, atol=1e-9)
    np.testing.assert_allclose(tables[0], [81, 72.9, 90, 81], atol=1e-9)
    assert epsilon == script.EPSILON_MIN


def test_the_car_moves_as_in_gymnasium(page):
    import gymnasium

    rng = np.random.default_rng(0)
    env = gymnasium.make("MountainCarContinuous-v0").unwrapped
    state, _ = env.reset(seed=0)
    # Long pushes to both sides: the car meets the left wall and reaches the flag.
    actions = np.repeat(rng.uniform(-1.5, 1.5, 40), 25)
    actions[400:] = np.sign(np.sin(np.arange(600) / 18))
    expected, rewards = [], []
    env.state = state.copy()
    for action in actions:
        push = np.array([np.clip(action, -1, 1)], "float32")
        state, reward, flag, _, _ = env.step(push)
        expected.append(state)
        rewards.append(reward)
        if flag:
            break
    found = page.evaluate(
        """async ([position, actions]) => {
          const {step} = await import("./mountaincar.js");
          let car = {position, velocity: 0, steps: 0, reward: 0};
          return actions.map(action => (car = step(car, action)));
        }""",
        [float(env.reset(seed=0)[0][0]), actions[: len(expected)].tolist()],
    )
    places = [[car["position"], car["velocity"]] for car in found]
    np.testing.assert_allclose(places, expected, atol=2e-5)
    assert found[-1]["reward"] == pytest.approx(sum(rewards), abs=1e-3)
    assert found[-1]["flag"] == flag


def test_colors_on_gray_are_those_of_the_script(page):
    script = load_script("chapter3-autoencoders/colorization-autoencoder-cifar10-3.4.1.py")
    rng = np.random.default_rng(0)
    gray = rng.random((32, 32, 1), "float32")
    colors = rng.random((32, 32, 3), "float32")
    found_gray, found = page.evaluate(
        """async ([gray, colors]) => {
          const {colorGray, toGray} = await import("./panels/color.js");
          return [[...toGray(colors)], [...colorGray(gray, colors)]];
        }""",
        [gray.ravel().tolist(), colors.ravel().tolist()],
    )
    np.testing.assert_allclose(found_gray, datasets.rgb_to_gray(colors).ravel(), atol=1e-4)
    expected = script.color_gray(gray, colors)
    np.testing.assert_allclose(found, expected.ravel(), atol=1e-4)


# The build


def test_measured_results_come_from_the_records(site, page):
    manifest = read_json(site / "manifest.json")
    dcgan = read_json(ROOT / "results/dcgan-mnist-4.2.1-evaluate.json")
    rows = {row["method"]: row["value"] for row in manifest["measured"]["noise"]}
    assert rows["DCGAN"] == f"{dcgan['fid_mnist']:.1f}"
    for panel, rows in manifest["measured"].items():
        shown = page.locator(f"#{panel} .measured").inner_text()
        assert all(row["value"] in shown and row["script"] in shown for row in rows)


@pytest.mark.parametrize("panel", explorer_sources.SOURCES)
def test_a_panel_shows_the_code_of_its_script(page, panel):
    import build_pages

    shown = page.locator(f"#{panel} .source")
    shown.locator("summary").press("Enter")
    path, number, code = explorer_sources.cut(explorer_sources.SOURCES[panel])
    assert shown.locator("pre").inner_text().strip() == code
    file = ROOT / path
    assert code.splitlines()[0] in file.read_text().splitlines()[number - 1]
    assert shown.locator("math").bounding_box()["width"] > 50
    page_of_file, _, anchor = shown.locator("a").get_attribute("href").partition("#")
    assert page_of_file == f"../{path.removesuffix('.py')}.html"
    titles = [title for title, _ in build_pages.sections(file.read_text())[1]]
    assert anchor in [re.sub(r"[ _]", "-", title).strip("-").lower() for title in titles]


def test_a_changed_script_is_an_error():
    source = dataclasses.replace(explorer_sources.SOURCES["draw"], first="no such line")
    with pytest.raises(ValueError, match="has no line 'no such line' in build_autoencoder"):
        explorer_sources.cut(source)


def test_links_to_the_scripts(page):
    links = page.eval_on_selector_all(".measured a", "links => links.map(a => a.href)")
    assert len(links) >= 19
    for link in set(links):
        assert page.request.get(link).ok, link
    rows = explorer_results.measured("noise")
    html = explorer_results.measured_html(rows, "https://example.org/adlk/")
    assert 'href="https://example.org/adlk/chapter4-gan/dcgan-mnist-4.2.1.py"' in html


def test_half_precision_changes_little(site):
    import gzip

    import onnxruntime

    def contents(name):
        packed = (site / f"models/{name}.onnx.gz").read_bytes()
        return gzip.decompress(packed), (site.parent / f"onnx/{name}.onnx").read_bytes()

    x = {"noise": np.random.default_rng(9).uniform(-1, 1, (8, 100)).astype("float32")}
    halved, whole = (
        onnxruntime.InferenceSession(file, providers=["CPUExecutionProvider"]).run(None, x)[0]
        for file in contents("dcgan_mnist")
    )
    np.testing.assert_allclose(halved, whole, atol=1e-3)
    for name in ("colorized_ae", "vae_mlp_mnist-decoder"):
        halved, whole = contents(name)
        assert len(halved) < 0.55 * len(whole)


def test_without_scripts_there_are_pictures_and_links(browser, address):
    context = browser.new_context(java_script_enabled=False)
    page = context.new_page()
    page.goto(address, wait_until="load")
    stills = page.locator(".still")
    assert stills.count() == len(build_explorer.PICTURES)
    for still in stills.all():
        still.scroll_into_view_if_needed()
        assert still.bounding_box()["height"] > 40
    assert page.locator(".measured a").count() >= 19
    assert page.locator("main button:visible").count() == 0
    context.close()


def test_the_first_load_is_small(browser, address):
    page, sizes = browser.new_page(), []
    page.on("response", lambda response: sizes.append(len(response.body())))
    page.goto(address, wait_until="networkidle")
    assert sum(sizes) < 300_000
    assert page.locator(".panel[data-state]").count() == 0
    page.mouse.wheel(0, 4000)  # scrolling past a panel does not start it
    page.wait_for_timeout(300)
    assert page.locator(".panel[data-state]").count() == 0
    page.close()


def test_the_build_without_the_runtime_is_one_line(monkeypatch, tmp_path):
    monkeypatch.setattr(build_explorer, "RUNTIME", tmp_path)
    with pytest.raises(build_explorer.UserError, match="run 'npm ci' in site/"):
        build_explorer.build(tmp_path / "explorer")


def test_other_files_are_not_replaced(tmp_path):
    (tmp_path / "notes.txt").touch()
    with pytest.raises(build_explorer.UserError, match="is not an explorer to replace"):
        build_explorer.build(tmp_path)
    assert (tmp_path / "notes.txt").exists()


def test_the_lock_file_names_no_registry():
    text = (ROOT / "site/package-lock.json").read_text()
    assert "resolved" not in text
    assert "://" not in text
