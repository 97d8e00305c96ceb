"""Build the explorer: a static page that runs the pretrained networks in the browser.

    python site/build_explorer.py                     into site/_build/html/explorer/
    python site/build_explorer.py --repository URL    link the scripts at URL/chapter4-gan/...
    python3 -m http.server --directory site/_build/html    then open localhost:8000/explorer/

The build exports the networks to ONNX (lib/run/export.py), copies ONNX Runtime Web from
site/node_modules (`npm ci` in site/), and reads the measured results from results/*.json. It takes
two minutes on one core. The packages are in requirements-site.txt.
"""

import base64
import html
import itertools
import json
import shutil
import sys
import tempfile
from pathlib import Path

import numpy as np

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

from lib.files.errors import UserError  # noqa: E402
from lib.run import flags, program  # noqa: E402
from tools import networks, registry, scripts  # noqa: E402
from tools.tables.cells import NOT_MEASURED, cell, record  # noqa: E402

SOURCE = ROOT / "site/explorer"
RUNTIME = ROOT / "site/node_modules/onnxruntime-web"
# The plain WebAssembly build: without WebGPU, which doubles the download.
RUNTIME_FILES = ("ort.wasm.min.mjs", "ort-wasm-simd-threaded.mjs", "ort-wasm-simd-threaded.wasm")
LEAST_HALVED = 1024  # numbers in an array that may be stored in half precision

POLICIES = ("reinforce", "baseline", "actor_critic", "a2c")
# The exported files that the page runs.
MODELS = (
    "mlp_mnist",
    "cnn_mnist",
    "rnn_mnist",
    "autoencoder_mnist",
    "denoising_autoencoder",
    "colorized_ae",
    "cyclegan_cifar10-g_source",
    "cyclegan_cifar10-g_target",
    "dcgan_mnist",
    "wgan_mnist",
    "lsgan_mnist",
    "cgan_mnist",
    "acgan_mnist",
    "cvae_cnn_mnist-decoder",
    "infogan_mnist",
    "stackedgan_mnist-gen0",
    "stackedgan_mnist-gen1",
    "vae_mlp_mnist-decoder",
    "vae_cnn_mnist-decoder",
    *(f"car_{method}" for method in POLICIES),
)


def _accuracy(script, name):
    return script, name, "test accuracy", script, "test_accuracy", ".2%", ""


def _fid(script, name):
    return _evaluated(script, name, "FID-MNIST", "fid_mnist", ".1f")


def _evaluated(script, name, measure, key, form=".2f", unit=""):
    return script, name, measure, f"{script}-evaluate", key, form, unit


def _requested(script, name):
    return _evaluated(script, name, "digit as requested", "conditional_accuracy", ".1%")


def _reward(method, name):
    script = "policygradient-car-10.1.1"
    return script, name, "reward", f"{script}-{method}", "test_reward/mean", ".1f", ""


# {panel: rows of (script, method, measure, record in results/, key, format, unit)}
MEASURED = {
    "draw": (
        _accuracy("mlp-mnist-1.3.2", "MLP"),
        _accuracy("cnn-mnist-1.4.1", "CNN"),
        _accuracy("rnn-mnist-1.5.1", "RNN"),
        _evaluated("autoencoder-mnist-3.2.1", "Autoencoder", "test MSE", "mse", form=".4f"),
        _evaluated(
            "denoising-autoencoder-mnist-3.3.1",
            "Denoising",
            "PSNR at noise 0.5",
            "noise_levels/0.5/psnr",
            ".1f",
            "dB",
        ),
        _evaluated(
            "denoising-autoencoder-mnist-3.3.1",
            "noisy input",
            "PSNR",
            "noise_levels/0.5/corrupted/psnr",
            ".1f",
            "dB",
        ),
    ),
    "color": (
        _evaluated(
            "colorization-autoencoder-cifar10-3.4.1", "Autoencoder", "PSNR", "psnr", ".1f", "dB"
        ),
        _evaluated(
            "colorization-autoencoder-cifar10-3.4.1", "Autoencoder", "colorfulness", "colorfulness"
        ),
        _evaluated("cyclegan-7.1.1", "CycleGAN", "PSNR", "cyclegan/psnr", ".1f", "dB"),
        _evaluated("cyclegan-7.1.1", "CycleGAN", "colorfulness", "cyclegan/colorfulness"),
        _evaluated("cyclegan-7.1.1", "gray picture", "PSNR", "gray_copy/psnr", ".1f", "dB"),
        _evaluated("cyclegan-7.1.1", "true colors", "colorfulness", "true_colorfulness"),
    ),
    "noise": (
        _evaluated("dcgan-mnist-4.2.1", "real digits", "FID-MNIST", "fid_mnist_floor", form=".1f"),
        _fid("dcgan-mnist-4.2.1", "DCGAN"),
        _fid("wgan-mnist-5.1.2", "WGAN"),
        _fid("lsgan-mnist-5.2.1", "LSGAN"),
    ),
    "digit": (
        _requested("cgan-mnist-4.3.1", "CGAN"),
        _fid("cgan-mnist-4.3.1", "CGAN"),
        _requested("acgan-mnist-5.3.1", "ACGAN"),
        _fid("acgan-mnist-5.3.1", "ACGAN"),
        _requested("cvae-cnn-mnist-8.2.1", "CVAE"),
    ),
    "infogan": (
        _evaluated(
            "infogan-mnist-6.1.1", "code 1", "correlation with thickness", "codes/thickness/0"
        ),
        _evaluated("infogan-mnist-6.1.1", "code 2", "correlation with slant", "codes/slant/1"),
        _fid("infogan-mnist-6.1.1", "InfoGAN"),
    ),
    "stackedgan": (
        _evaluated("stackedgan-mnist-6.2.1", "z1", "correlation with slant", "z1/slant/0"),
        _evaluated("stackedgan-mnist-6.2.1", "z0", "correlation with thickness", "z0/thickness/0"),
        _fid("stackedgan-mnist-6.2.1", "StackedGAN"),
    ),
    "plane": (
        _evaluated(
            "vae-mlp-mnist-8.1.1", "Dense layers", "negative ELBO", "negative_elbo", ".1f", "nats"
        ),
        _evaluated(
            "vae-cnn-mnist-8.1.2", "Convolutions", "negative ELBO", "negative_elbo", ".1f", "nats"
        ),
    ),
    "car": (
        _reward("reinforce", "REINFORCE"),
        _reward("baseline", "with baseline"),
        _reward("actor_critic", "actor-critic"),
        _reward("a2c", "A2C"),
    ),
}


def measured(panel):
    """The measured results of a panel: a list of dicts with script, method, measure and value."""
    if panel == "qlearning":
        return _measure_q_learning()
    rows = []
    for script, method, measure, name, key, form, unit in MEASURED[panel]:
        value = cell(record(name), key, form)
        text = value if value == NOT_MEASURED else f"{value} {unit}".strip()
        path = registry.path_of(script)
        rows.append({"script": path, "method": method, "measure": measure, "value": text})
    return rows


def _measure_q_learning():
    """Trains the table of listing 9.3.1 as its --train does; it takes a tenth of a second."""
    path = registry.path_of("q-learning-9.3.1")
    script = scripts.load_script(path)
    agent = script.QAgent(seed=0)
    wins = 0
    while wins < script.TRAIN_WINS:
        state, done = script.START, False
        while not done:
            action = agent.act(state)
            following, reward, done = script.step(state, action)
            agent.update_q_table(state, action, reward, following)
            state = following
        wins += state == script.GOAL
        agent.update_epsilon()
    return [
        {
            "script": path,
            "method": f"start, {action}",
            "measure": f"value after {script.TRAIN_WINS:,} wins",
            "value": f"{value:.1f}",
        }
        for action, value in zip(script.ACTIONS, agent.q_table[script.START], strict=True)
    ]


def measured_html(rows, base):
    """The table of measured results of a panel; the scripts are links below `base`."""
    lines = ['<table class="measured"><caption>Measured</caption><tbody>']
    for script, group in itertools.groupby(rows, key=lambda row: row["script"]):
        group = list(group)
        link = f'<a href="{html.escape(base + script)}">{html.escape(script)}</a>'
        for number, row in enumerate(group):
            cells = (row["method"], row["measure"], row["value"])
            texts = "".join(f"<td>{html.escape(text)}</td>" for text in cells)
            last = f'<td rowspan="{len(group)}">{link}</td>' if number == 0 else ""
            lines.append(f"<tr>{texts}{last}</tr>")
    return "\n".join([*lines, "</tbody></table>"])


def sample_digits():
    """The first test digit of each class, as base64 of 28 x 28 bytes."""
    with np.load(ROOT / "lib/data/mnist-5000.npz") as data:
        images, labels = data["x_test"], data["y_test"]
    first = [images[np.flatnonzero(labels == digit)[0]] for digit in range(10)]
    return [base64.b64encode(image.tobytes()).decode() for image in first]


def export_models(folder):
    """Exports the networks of MODELS into `folder`, but for those that it has already."""
    missing = [name for name in MODELS if not (folder / f"{name}.onnx").exists()]
    names = [name for name in networks.PRETRAINED if any(made_by(name, file) for file in missing)]
    if names:
        networks.export_all(names, folder)


def made_by(name, file):
    """Whether the weights `name` are exported to `file`, among others."""
    return file == name or file.startswith(f"{name}-")


def halve(path, target):
    """Copies an ONNX file with the arrays in half precision that lose nothing by it.

    These are arrays of weight files in half precision. The runtime computes in single precision.
    """
    import onnx
    from onnx import helper, numpy_helper

    model = onnx.load(path)
    graph = model.graph
    casts = []
    for tensor in graph.initializer:
        array = numpy_helper.to_array(tensor)
        if array.dtype != np.float32 or array.size < LEAST_HALVED:
            continue
        with np.errstate(over="ignore"):
            half = array.astype(np.float16)
        if np.array_equal(half.astype(np.float32), array):
            name = tensor.name
            tensor.CopyFrom(numpy_helper.from_array(half, f"{name}_half"))
            casts.append(
                helper.make_node("Cast", [f"{name}_half"], [name], to=onnx.TensorProto.FLOAT)
            )
    nodes = [*casts, *graph.node]
    del graph.node[:]
    graph.node.extend(nodes)
    onnx.checker.check_model(model)
    target.write_bytes(model.SerializeToString())


def build(target, repository="", exported=None):
    """Writes the explorer.

    Args:
        target: its folder, which is replaced.
        repository: address of the root of the repository, for links to the scripts. Without it
            they are copied into the explorer.
        exported: folder of exported networks; missing ones are exported into it. Without it, all
            are exported.

    Raises:
        UserError: if ONNX Runtime Web is not installed, or `target` has other files.
    """
    for name in RUNTIME_FILES:
        if not (RUNTIME / "dist" / name).exists():
            raise UserError("ONNX Runtime Web is missing; run 'npm ci' in site/")
    if target.exists():
        if not (target / "ort").is_dir():
            raise UserError(f"'{target}' is not an explorer to replace; choose a new folder")
        shutil.rmtree(target)
    shutil.copytree(SOURCE, target)
    for name in RUNTIME_FILES:
        (target / "ort").mkdir(exist_ok=True)
        shutil.copyfile(RUNTIME / "dist" / name, target / "ort" / name)
    models = target / "models"
    models.mkdir()
    with tempfile.TemporaryDirectory() as temporary:
        exported = exported or Path(temporary)
        export_models(exported)
        for name in MODELS:
            halve(exported / f"{name}.onnx", models / f"{name}.onnx")
    panels = {panel: measured(panel) for panel in (*MEASURED, "qlearning")}
    base = f"{repository.rstrip('/')}/" if repository else "scripts/"
    page = target / "index.html"
    text = page.read_text()
    for panel, rows in panels.items():
        marker = f"<!-- measured: {panel} -->"
        if marker not in text:
            raise ValueError(f"no marker '{marker}' in {page.name}")
        text = text.replace(marker, measured_html(rows, base))
    page.write_text(text)
    if not repository:
        for row in (row for rows in panels.values() for row in rows):
            copy = target / "scripts" / row["script"]
            copy.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(ROOT / row["script"], copy)
    manifest = {
        "models": {name: (models / f"{name}.onnx").stat().st_size for name in MODELS},
        "measured": panels,
        "digits": sample_digits(),
    }
    (target / "manifest.json").write_text(json.dumps(manifest, indent=1) + "\n")


def main(args):
    """Builds the page and prints its size."""
    program.load_keras()
    build(args.target, args.repository)
    size = sum(path.stat().st_size for path in args.target.rglob("*") if path.is_file())
    print(f"{args.target}: {size / 1e6:.0f} MB")


if __name__ == "__main__":
    parser = flags.Parser(__doc__)
    parser.add_argument(
        "--target",
        type=Path,
        default=ROOT / "site/_build/html/explorer",
        help="folder of the page (default site/_build/html/explorer)",
    )
    parser.add_argument(
        "--repository",
        default="",
        metavar="URL",
        help="address of the root of the repository, for links to the scripts (default: copies)",
    )
    program.run(main, parser.parse_args(sys.argv[1:]))
