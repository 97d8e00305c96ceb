"""Runs every listing of the collection on a tiny budget from the shell and prints a table.

    python3 tests/smoke.py              all of them
    python3 tests/smoke.py dqn cyclegan     the commands that contain one of these words

The data are random images in the real file format, so that no network is needed. The exit code is 1
if a run has failed.
"""

import os
import subprocess
import sys
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np

ROOT = Path(__file__).resolve().parents[1]

AT_ONCE = 2  # runs; each takes most of its time to start, on one core

TINY_GAN = "--train-steps 2 --batch-size 4"
TINY_CLASSIFIER = "--epochs 1 --batch-size 16"
RUNS = (
    "chapter1-keras-quick-tour/mnist-sampler-1.3.1.py",
    f"chapter1-keras-quick-tour/mlp-mnist-1.3.2.py {TINY_CLASSIFIER}",
    f"chapter1-keras-quick-tour/cnn-mnist-1.4.1.py {TINY_CLASSIFIER}",
    f"chapter1-keras-quick-tour/rnn-mnist-1.5.1.py {TINY_CLASSIFIER}",
    f"chapter2-deep-networks/cnn-functional-2.1.1.py {TINY_CLASSIFIER}",
    f"chapter2-deep-networks/cnn-y-network-2.1.2.py {TINY_CLASSIFIER}",
    f"chapter2-deep-networks/resnet-cifar10-2.2.1.py {TINY_CLASSIFIER} --n 1",
    f"chapter2-deep-networks/densenet-cifar10-2.4.1.py {TINY_CLASSIFIER} --depth 10",
    f"chapter3-autoencoders/autoencoder-mnist-3.2.1.py {TINY_CLASSIFIER}",
    f"chapter3-autoencoders/autoencoder-2dim-mnist-3.2.2.py {TINY_CLASSIFIER}",
    f"chapter3-autoencoders/denoising-autoencoder-mnist-3.3.1.py {TINY_CLASSIFIER}",
    f"chapter3-autoencoders/colorization-autoencoder-cifar10-3.4.1.py {TINY_CLASSIFIER}",
    f"chapter4-gan/dcgan-mnist-4.2.1.py {TINY_GAN}",
    f"chapter4-gan/cgan-mnist-4.3.1.py {TINY_GAN}",
    f"chapter5-improved-gan/wgan-mnist-5.1.2.py {TINY_GAN}",
    f"chapter5-improved-gan/lsgan-mnist-5.2.1.py {TINY_GAN}",
    f"chapter5-improved-gan/acgan-mnist-5.3.1.py {TINY_GAN}",
    f"chapter6-disentangled-gan/infogan-mnist-6.1.1.py {TINY_GAN}",
    f"chapter6-disentangled-gan/stackedgan-mnist-6.2.1.py {TINY_GAN}",
    f"chapter7-cross-domain-gan/cyclegan-7.1.1.py {TINY_GAN} --cifar10",
    f"chapter7-cross-domain-gan/cyclegan-7.1.1.py {TINY_GAN} --mnist-svhn --target mnist-m",
    f"chapter8-vae/vae-mlp-mnist-8.1.1.py {TINY_CLASSIFIER}",
    f"chapter8-vae/vae-cnn-mnist-8.1.2.py {TINY_CLASSIFIER}",
    f"chapter8-vae/cvae-cnn-mnist-8.2.1.py {TINY_CLASSIFIER} --beta 7",
    "chapter9-drl/q-learning-9.3.1.py --train",
    "chapter9-drl/q-frozenlake-9.5.1.py --slippery --episodes 100 --record gif",
    "chapter9-drl/dqn-cartpole-9.6.1.py --episodes 5",
    "chapter9-drl/dqn-cartpole-9.6.1.py --episodes 5 --ddqn --book -r --record gif",
    *(
        f"chapter10-policy/policygradient-car-10.1.1.py -e car_encoder.h5 --episodes 2{method}"
        for method in ("", " --baseline", " --actor-critic", " --a2c")
    ),
)


def write_data(folder):
    """Random images in mnist.npz and cifar10.npz."""
    rng = np.random.default_rng(0)
    for name, shape in (("mnist", (28, 28)), ("cifar10", (32, 32, 3))):
        parts = {}
        for part, size in (("train", 64), ("test", 32)):
            parts[f"x_{part}"] = rng.integers(0, 256, (size, *shape), dtype=np.uint8)
            parts[f"y_{part}"] = np.arange(size, dtype=np.uint8) % 10
        np.savez(folder / f"{name}.npz", **parts)


def run(command):
    """Runs a listing; returns (exit code, seconds, peak memory in MB, last line of its errors)."""
    script, *flags = command.split()
    with (
        tempfile.TemporaryDirectory() as data,
        tempfile.TemporaryDirectory() as folder,
        tempfile.TemporaryFile("w+") as errors,
    ):
        write_data(Path(data))
        started = time.time()
        process = subprocess.Popen(
            [sys.executable, ROOT / script, *flags],
            cwd=folder,
            env={**os.environ, "ADLK_DATA_DIR": data, "MPLBACKEND": "Agg"},
            stdout=subprocess.DEVNULL,
            stderr=errors,
        )
        _, status, usage = os.wait4(process.pid, 0)
        seconds = time.time() - started
        errors.seek(0)
        lines = errors.read().strip().splitlines()
    unit = 2**20 if sys.platform == "darwin" else 2**10
    code = os.waitstatus_to_exitcode(status)
    return code, seconds, usage.ru_maxrss / unit, lines[-1] if lines else ""


def main(words):
    wanted = [c for c in RUNS if not words or any(word in c for word in words)]
    failed = 0
    print(f"{'script':<78}{'seconds':>8}{'exit code':>10}{'peak MB':>9}")
    with ThreadPoolExecutor(AT_ONCE) as pool:
        for command, (code, seconds, megabytes, error) in zip(
            wanted, pool.map(run, wanted), strict=True
        ):
            failed += code != 0
            _, name = command.split("/", 1)
            print(f"{name:<78}{seconds:>8.1f}{code:>10}{megabytes:>9.0f}", flush=True)
            if code:
                print(f"    {error}")
    print(f"{len(wanted) - failed} of {len(wanted)} ran through")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
