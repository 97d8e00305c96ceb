"""The measured results that stand below the panels of the explorer, from results/*.json."""

import html
import itertools

from tools import registry, scripts
from tools.tables.cells import NOT_MEASURED, cell, record


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
