"""Networks that learn in the browser: they make Keras' steps, and their panels show it."""

import numpy as np
import pytest
from conftest import ROOT, load_script, read_json

from lib.run import export

for package in (*export.PACKAGES, "playwright"):
    pytest.importorskip(package, reason="requirements-dev.txt is not installed")

pytest.register_assert_rewrite("explorer_page")
from explorer_page import MARKS, PATIENCE, open_page, start_panel  # noqa: E402
from exported import keras_steps  # noqa: E402

pytestmark = MARKS
pytest_plugins = ["explorer_page"]  # its fixtures
STEPS = 100
PANELS = ("learn-mlp", "learn-vae", "learn-dqn", "learn-policy")


@pytest.fixture(scope="module")
def page(browser, address):
    """The page with the live panels started."""
    page = open_page(browser, address, accept_downloads=True)
    for name in PANELS:
        start_panel(page, name)
    yield page
    page.context.close()


# The same numbers as Keras and Gymnasium

RUN = """async ([name, layout]) => {
  const {manifest} = await import("./manifest.js");
  const {Steps} = await import("./live/steps.js");
  const bytes = await (await fetch(`parity-${name}.bin`)).arrayBuffer();
  const kinds = {float32: Float32Array, int32: Int32Array, int64: BigInt64Array};
  const parts = {};
  for (const [part, key, kind, offset, size] of layout) {
    (parts[part] ??= {})[key] = new kinds[kind](bytes, offset, size);
  }
  const about = manifest.live[name];
  const steps = await Steps.open(name, about);
  steps.reset(() => 0.5);
  for (const [key, data] of Object.entries(parts.first)) steps.put(key, data);
  const rows = (data, start) =>
    data.subarray(data.length / 100 * start, data.length / 100 * (start + 10));
  const losses = [];
  for (let start = 0; start < 100; start += 10) {
    const given = Object.fromEntries(
      Object.entries(parts.inputs).map(([key, data]) => [key, rows(data, start)]));
    losses.push(...(await steps.run(10, 16, given, given, given)).loss);
  }
  let most = 0;
  for (const [key, data] of Object.entries(parts.last)) {
    const found = steps.state[key].data;
    data.forEach((value, i) => most = Math.max(most, Math.abs(Number(value) - Number(found[i]))));
  }
  return [most, losses];
}"""


@pytest.mark.parametrize("name", ["mlp", "vae", "dqn"])
def test_a_hundred_steps_in_the_browser_are_those_of_keras(page, site, name):
    first, inputs, results, last = keras_steps(name, site.parent / "onnx/live")
    contents, layout = bytearray(), []
    for part, arrays in (("first", first), ("inputs", inputs), ("last", last)):
        for key, array in arrays.items():
            contents += bytes(-len(contents) % 8)
            layout.append([part, key, array.dtype.name, len(contents), array.size])
            contents += array.tobytes()
    (site / f"parity-{name}.bin").write_bytes(contents)
    most, losses = page.evaluate(RUN, [name, layout])
    print(f"{name}: differs from Keras by at most {most:.1e} after {STEPS} steps")
    assert most < 1e-4
    np.testing.assert_allclose(losses, results["loss"], rtol=1e-4)


@pytest.mark.parametrize("method", ["reinforce", "baseline", "actor_critic", "a2c"])
def test_a_hundred_updates_of_a_policy_are_those_of_keras(page, site, method):
    from lib.rl.state_encoder import build_encoder

    script = load_script("chapter10-policy/policygradient-car-10.1.1.py")
    settings = read_json(site / "manifest.json")["live"]["policy"]["settings"][method]
    agent = script.PolicyAgent(method, build_encoder(2), script.Settings(**settings))
    rng = np.random.default_rng(1)
    episodes = []
    for i in range(STEPS):
        steps = 1 + i % 30
        episodes.append(
            {
                "features": rng.normal(size=(steps + 1, 32)).astype("float32").tolist(),
                "actions": rng.normal(size=steps).tolist(),
                "rewards": rng.normal(size=steps).tolist(),
                "flag": i % 3 == 0,
            }
        )
        agent.learn(**episodes[-1], share=1 - i / STEPS)
    found = page.evaluate(
        """async ([method, settings, episodes]) => {
          const {PolicyAgent} = await import("./policygradient.js");
          const agent = new PolicyAgent(method, settings);
          episodes.forEach((each, i) => agent.learn(each, 1 - i / episodes.length));
          return [agent.mean, agent.std, agent.value].map(each => [...each]);
        }""",
        [method, settings, episodes],
    )
    networks = [agent.actor.get_layer("mean"), agent.actor.get_layer("std"), agent.value]
    for layer, numbers in zip(networks, found, strict=True):
        kernel, bias = layer.get_weights()
        np.testing.assert_allclose(numbers, [*kernel[:, 0], *bias], atol=1e-4)
    assert np.abs(found[0]).max() > 0.01


def test_the_pole_moves_as_in_gymnasium(page):
    import gymnasium

    env = gymnasium.make("CartPole-v1").unwrapped
    env.reset(seed=0)
    actions = np.random.default_rng(0).integers(2, size=200).tolist()
    starts, expected = [], []
    for action in actions:
        starts.append(env.state.tolist())
        fell = env.step(action)[2]
        expected.append([*env.state, fell])
        if fell:
            env.reset()
    found = page.evaluate(
        """async ([starts, actions]) => {
          const {step} = await import("./cartpole.js");
          return actions.map((action, i) => {
            const {state, fell} = step({state: starts[i], steps: 0}, action);
            return [...state, Number(fell)];
          });
        }""",
        [starts, actions],
    )
    np.testing.assert_allclose(found, expected, rtol=1e-12, atol=1e-12)
    assert sum(row[4] for row in expected) >= 3


# The panels


@pytest.mark.parametrize("name", PANELS)
def test_training_starts_pauses_and_starts_again(page, name):
    panel = page.locator(f"#{name}")
    train = panel.locator(".controls .play")
    curves = f"document.querySelector('#{name} .chart').toDataURL()"
    before = page.evaluate(curves)
    train.press("Enter")
    page.wait_for_function(f"before => {curves} !== before", arg=before)
    assert train.inner_text() == "Pause"
    train.press("Enter")
    assert train.inner_text() == "Train"
    page.wait_for_function(f"document.querySelector('#{name} .status').innerText.match(/[1-9]/)")
    panel.locator(".again").press("Enter")
    page.wait_for_function(f"document.querySelector('#{name} .status').innerText.match(/Train /)")


COMMANDS = {
    "learn-mlp": ("chapter1-keras-quick-tour", "mlp_mnist.h5"),
    "learn-vae": ("chapter8-vae", "vae_mlp_mnist.h5"),
    "learn-dqn": ("chapter9-drl", "dqn_cartpole.h5"),
    "learn-policy": ("chapter10-policy", "car_a2c_actor.h5"),
}


@pytest.mark.parametrize("name", PANELS)
def test_saved_weights_are_those_of_the_page(page, name, tmp_path):
    import h5py

    folder, shipped = COMMANDS[name]
    panel = page.locator(f"#{name}")
    panel.locator(".step").press("Enter")
    with page.expect_download() as download:
        panel.locator(".save").press("Enter")
    file = tmp_path / download.value.suggested_filename
    download.value.save_as(file)
    assert file.name == shipped
    page.wait_for_function(f"document.querySelector('#{name} .status').innerText.match(/Saved/)")

    def arrays(path):
        with h5py.File(path) as opened:
            root = opened["model_weights"]
            for layer in root.attrs["layer_names"]:
                for weight in root[layer].attrs["weight_names"]:
                    yield root[layer][weight][()]

    found = [*arrays(file)]
    expected = [array.shape for array in arrays(ROOT / folder / "weights" / shipped)]
    assert [array.shape for array in found] == expected
    assert all(np.isfinite(array).all() for array in found)
    assert any(array.any() for array in found)


# Learning, on demand: pytest -n0 -m learning

LEARN = """async ([name, settings, seconds]) => {
  const {manifest} = await import("./manifest.js");
  const {Task} = await import(`./live/${name}.js`);
  const task = await Task.open(manifest.live[name]);
  let report = await task.restart(0, settings);
  const best = {};
  const started = performance.now();
  while (!report.done && performance.now() - started < 1000 * seconds) {
    report = await task.advance(task.chunk, settings);
    if ("accuracy" in report) best.accuracy = report.accuracy;
    if ("kl" in report) best.bound = report.reconstruction + report.kl;
    if (report.history?.mean) best.mean = report.history.mean.at(-1);
  }
  return {...best, count: report.count};
}"""
LEARNED = [
    ("mlp", {"learningRate": 1e-3, "batchSize": 128, "shift": 1}, "accuracy", 0.94, 1),
    ("vae", {"learningRate": 1e-3, "batchSize": 128, "beta": 1}, "bound", 175, -1),
    ("dqn", {"learningRate": 5e-4, "batchSize": 64, "gamma": 0.98}, "mean", 195, 1),
    (
        "policy",
        {"method": "reinforce", "learningRate": 2.5e-3, "correlation": 0.9},
        "mean",
        90,
        1,
    ),
]


@pytest.mark.learning
@pytest.mark.parametrize(("name", "settings", "measure", "limit", "sign"), LEARNED)
def test_a_network_learns_in_the_browser(
    page,
    name,
    settings,
    measure,
    limit,
    sign,
):
    seconds = 120 if name == "dqn" else 60
    page.set_default_timeout(4 * PATIENCE)
    found = page.evaluate(LEARN, [name, settings, seconds])
    print(f"{name}: {found}")
    assert sign * found[measure] >= sign * limit
