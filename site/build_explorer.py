"""Build the explorer: a static page that runs and trains networks in the browser.

    python site/build_explorer.py                     # into site/_build/html/explorer/
    python site/build_explorer.py --repository URL    # link the scripts at URL/chapter4-gan/...
    python3 -m http.server --directory site/_build/html    # then open localhost:8000/explorer/

The build exports the networks to ONNX (lib/run/export.py) and the training steps of some
(site/live_training.py), copies ONNX Runtime Web from site/node_modules (`npm ci` in site/), and
reads the measured results from results/*.json. It takes two minutes on one core. The packages are
in requirements-site.txt.
"""

import json
import shutil
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

import explorer_files  # noqa: E402
import explorer_results  # noqa: E402
import explorer_sources  # noqa: E402

from lib.files.errors import UserError  # noqa: E402
from lib.run import flags, program  # noqa: E402

SOURCE = ROOT / "site/explorer"
RUNTIME = ROOT / "site/node_modules/onnxruntime-web"
# The plain WebAssembly build: without WebGPU, which doubles the download.
SCRIPTS = ("ort.wasm.min.mjs", "ort-wasm-simd-threaded.mjs")
BINARY = "ort-wasm-simd-threaded.wasm"

POLICIES = ("reinforce", "baseline", "actor_critic", "a2c")
# {panel: the exported files that it runs}
MODELS = {
    "draw": ("mlp_mnist", "cnn_mnist", "rnn_mnist", "autoencoder_mnist", "denoising_autoencoder"),
    "color": ("colorized_ae", "cyclegan_cifar10-g_source", "cyclegan_cifar10-g_target"),
    "noise": ("dcgan_mnist", "wgan_mnist", "lsgan_mnist"),
    "digit": ("cgan_mnist", "acgan_mnist", "cvae_cnn_mnist-decoder"),
    "infogan": ("infogan_mnist",),
    "stackedgan": ("stackedgan_mnist-gen0", "stackedgan_mnist-gen1"),
    "plane": ("vae_mlp_mnist-decoder", "vae_cnn_mnist-decoder"),
    "qlearning": (),
    "car": tuple(f"car_{method}" for method in POLICIES),
}
# {panel: files that the page loads when it starts}, besides the above
LIVE = {
    "learn-mlp": ("training/mlp-step.onnx", "training/mlp-classify.onnx", "training/digits.bin"),
    "learn-vae": (
        "training/vae-step.onnx",
        "training/vae-encode.onnx",
        "training/vae-decode.onnx",
        "training/digits.bin",
    ),
    "learn-dqn": ("training/dqn-step.onnx",),
    "learn-policy": ("training/policy-encoder.bin",),
}
WITHOUT_RUNTIME = ("qlearning", "learn-policy")
# {panel: figure of the repository that stands in its place until it starts}
PICTURES = {
    "draw": "chapter1-keras-quick-tour/figures/mnist-samples.png",
    "learn-mlp": "chapter1-keras-quick-tour/figures/cnn-confusion.png",
    "color": "chapter3-autoencoders/figures/colors-on-gray.png",
    "noise": "chapter4-gan/figures/dcgan-evolution.png",
    "digit": "chapter4-gan/figures/cgan-digits.png",
    "infogan": "chapter6-disentangled-gan/figures/infogan-code2.png",
    "stackedgan": "chapter6-disentangled-gan/figures/stackedgan-z1.png",
    "plane": "chapter8-vae/figures/vae_mlp-digits.png",
    "learn-vae": "chapter8-vae/figures/vae_mlp-mean.png",
    "learn-dqn": "chapter9-drl/figures/dqn-rewards.png",
    "car": "chapter10-policy/figures/comparison.png",
    "learn-policy": "chapter10-policy/figures/reinforce.png",
}


def every_model():
    """The names of all exported files that the page runs."""
    return [name for names in MODELS.values() for name in names]


def copy_runtime(target):
    """Copies ONNX Runtime Web, its binary compressed; returns the size of the download."""
    target.mkdir()
    for name in SCRIPTS:
        shutil.copyfile(RUNTIME / "dist" / name, target / name)
    binary = explorer_files.pack((RUNTIME / "dist" / BINARY).read_bytes(), target / f"{BINARY}.gz")
    return binary + sum((target / name).stat().st_size for name in SCRIPTS)


def copy_live(source, target):
    """Copies the files of live_training.py; returns {file: size of the download}."""
    target.mkdir()
    contents = {path.name: path.read_bytes() for path in source.iterdir()}
    contents["digits.bin"] = explorer_files.all_digits()
    return {
        f"training/{name}": explorer_files.pack(data, target / f"{name}.gz")
        for name, data in sorted(contents.items())
        if name != "live.json"
    }


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
    for name in (*SCRIPTS, BINARY):
        if not (RUNTIME / "dist" / name).exists():
            raise UserError("ONNX Runtime Web is missing; run 'npm ci' in site/")
    if target.exists():
        if not (target / "ort").is_dir():
            raise UserError(f"'{target}' is not an explorer to replace; choose a new folder")
        shutil.rmtree(target)
    shutil.copytree(SOURCE, target)
    runtime = copy_runtime(target / "ort")
    models = target / "models"
    models.mkdir()
    with tempfile.TemporaryDirectory() as temporary:
        exported = exported or Path(temporary)
        explorer_files.export_models(every_model(), exported)
        sizes = {
            f"models/{name}.onnx": explorer_files.pack(
                explorer_files.halved(exported / f"{name}.onnx"), models / f"{name}.onnx.gz"
            )
            for name in every_model()
        }
        if not (exported / "live").exists():
            import live_training

            live_training.write(exported / "live")
        sizes |= copy_live(exported / "live", target / "training")
        live = json.loads((exported / "live/live.json").read_text())
    panels = {panel: explorer_results.measured(panel) for panel in MODELS}
    write_page(target / "index.html", panels, f"{repository.rstrip('/')}/" if repository else "")
    if not repository:
        for row in (row for rows in panels.values() for row in rows):
            copy = target / "scripts" / row["script"]
            copy.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(ROOT / row["script"], copy)
    files = {panel: [f"models/{name}.onnx" for name in names] for panel, names in MODELS.items()}
    manifest = {
        "files": sizes,
        "panels": {panel: [*names] for panel, names in {**files, **LIVE}.items()},
        "runtime": runtime,
        "withoutRuntime": WITHOUT_RUNTIME,
        "live": live,
        "measured": panels,
        "digits": explorer_files.sample_digits(),
    }
    (target / "manifest.json").write_text(json.dumps(manifest) + "\n")


def write_page(page, panels, repository):
    """Fills in the measured results, the still pictures and the code of the panels."""
    text = page.read_text()
    inserted = {
        f"<!-- measured: {panel} -->": explorer_results.measured_html(
            rows, repository or "scripts/"
        )
        for panel, rows in panels.items()
    }
    for panel in explorer_sources.SOURCES:
        inserted[f"<!-- source: {panel} -->"] = explorer_sources.source_html(panel)
    folder = page.parent / "stills"
    folder.mkdir()
    for panel, figure in PICTURES.items():
        width, height = explorer_files.still_picture(ROOT / figure, folder / f"{panel}.webp")
        inserted[f"<!-- still: {panel} -->"] = (
            f'<img class="still" src="stills/{panel}.webp" width="{width}" height="{height}" '
            'alt="" loading="lazy">'
        )
    for marker, replacement in inserted.items():
        if marker not in text:
            raise ValueError(f"no marker '{marker}' in {page.name}")
        text = text.replace(marker, replacement)
    page.write_text(text)


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
