"""The formula and the lines of code that stand below each panel of the explorer.

The lines are cut from the scripts, so that they are always those that run.
"""

import ast
import html
import re
import textwrap
from dataclasses import dataclass

from tools import registry
from tools.scripts import ROOT


@dataclass(frozen=True)
class Source:
    """Lines of a file, and their formula.

    Attributes:
        path: file, relative to the root, or the name of a script.
        section: function or class at the top level of the file, in which the lines are.
        first: beginning of the first line, without spaces.
        lines: number of lines.
        formula: text for `mathml`.
    """

    path: str
    section: str
    first: str
    lines: int
    formula: str


GAN = "L_G = − E log D ( G ( z ) )"
BOUND = "L = − Σ_i [ x_i log x̂_i + ( 1 − x_i ) log ( 1 − x̂_i ) ] + β KL"
POLICY = "L = − 1 / 100 Σ_t [ A_t log π ( a_t | s_t ) + β H_t ]"
SOURCES = {
    "draw": Source(
        "autoencoder-mnist-3.2.1",
        "build_autoencoder",
        "autoencoder.compile(",
        1,
        "L = 1 / n Σ_i ( x_i − x̂_i ) ^2",
    ),
    "learn-mlp": Source(
        "mlp-mnist-1.3.2",
        "compile_classifier",
        "model.compile(",
        5,
        "L = − 1 / n Σ_i log p ( y_i | x_i )",
    ),
    "color": Source(
        "cyclegan-7.1.1",
        "CycleGAN",
        "cycle = ",
        4,
        "L = L_adv + λ E ( | F ( G ( x ) ) − x | + | G ( F ( y ) ) − y | )",
    ),
    "noise": Source("dcgan-mnist-4.2.1", "DCGAN", "def generator_loss", 5, GAN),
    "digit": Source(
        "cgan-mnist-4.3.1",
        "CGAN",
        "def generator_loss",
        5,
        "L_G = − E log D ( G ( z , y ) , y )",
    ),
    "infogan": Source(
        "infogan-mnist-6.1.1",
        "gaussian_code_loss",
        "def gaussian_code_loss",
        3,
        "L_c = E ( c − Q ( G ( z , c ) ) ) ^2 / 2 σ ^2",
    ),
    "stackedgan": Source(
        "stackedgan-mnist-6.2.1",
        "StackedGAN",
        "source_loss, _ = gan.source_loss(ops.ones_like(source), source)",
        2,
        "L = − log D ( G ( z ) ) + λ ( z − Q ( G ( z ) ) ) ^2",
    ),
    "plane": Source("lib/vae.py", "binary_cross_entropy", "decoded = ", 3, BOUND),
    "learn-vae": Source(
        "lib/vae.py",
        "kl_divergence",
        "return (ops.square(std)",
        1,
        "KL = Σ_j ( σ_j^2 + μ_j^2 − 1 − log σ_j^2 ) / 2",
    ),
    "qlearning": Source(
        "q-learning-9.3.1",
        "QAgent",
        "def update_q_table",
        3,
        "Q ( s , a ) ← r + γ max_a′ Q ( s^′ , a^′ )",
    ),
    "learn-dqn": Source(
        "dqn-cartpole-9.6.1",
        "Learner",
        "targets = rewards",
        3,
        "L = E Huber ( r + γ max_a′ Q_target ( s^′ , a^′ ) − Q ( s , a ) )",
    ),
    "car": Source(
        "policygradient-car-10.1.1",
        "log_density",
        "error = (noise",
        3,
        "log π ( a_t | s_t ) = − ε_t^2 / 2 − log σ_t − 1 / 2 log 2 π",
    ),
    "learn-policy": Source(
        "policygradient-car-10.1.1", "PolicyAgent", "def policy_loss", 5, POLICY
    ),
}


def mathml(text):
    """A formula as MathML: tokens between spaces, in which _ and ^ begin an index and a power."""

    def atom(token):
        kind = "mn" if token.isdigit() else "mi" if token[0].isalpha() else "mo"
        space = '<mspace width="0.17em"></mspace>' if kind == "mi" and len(token) > 1 else ""
        return f"<{kind}>{html.escape(token)}</{kind}>{space}"

    def element(token):
        base, below, above = re.fullmatch(r"([^_^]*)(?:_([^^]+))?(?:\^(.+))?", token).groups()
        parts = [f"<mrow>{atom(base) if base else ''}</mrow>"]
        parts += [f"<mrow>{atom(each)}</mrow>" for each in (below, above) if each]
        if len(parts) == 1:
            return parts[0]
        kind = "msubsup" if below and above else "msub" if below else "msup"
        return f"<{kind}>{''.join(parts)}</{kind}>"

    return f"<math>{''.join(map(element, text.split()))}</math>"


def cut(source):
    """The path of the file, the number of the first line, and the lines without indentation.

    Raises:
        ValueError: if the file has no such lines, for instance because the script has changed.
    """
    path = source.path if "/" in source.path else registry.path_of(source.path)
    text = (ROOT / path).read_text()
    lines = text.splitlines()
    for node in ast.parse(text).body:
        if getattr(node, "name", None) == source.section:
            for i in range(node.lineno - 1, node.end_lineno):
                if lines[i].strip().startswith(source.first):
                    code = "\n".join(lines[i : i + source.lines])
                    return path, i + 1, textwrap.dedent(code)
    raise ValueError(f"{path} has no line '{source.first}' in {source.section}; see {__file__}")


def source_html(panel):
    """Formula, lines and link of a panel. The link leads to the page of the file on the site."""
    source = SOURCES[panel]
    path, number, code = cut(source)
    last = number + source.lines - 1
    # Sphinx makes the name of the section like this.
    section = source.section.replace("_", "-").strip("-").lower()
    kind = "class-" if source.section[0].isupper() else ""
    page = f"../{path.removesuffix('.py')}.html#{kind}{section}"
    where = f"line {number}" if number == last else f"lines {number} to {last}"
    return (
        '<details class="source"><summary>Formula and code</summary>'
        f"<p>{mathml(source.formula)}</p><pre><code>{html.escape(code)}</code></pre>"
        f'<p><a href="{html.escape(page)}">{html.escape(path)}</a>, {where}</p></details>'
    )
