"""Export pretrained networks to ONNX, which runs without Keras, in a browser for example.

    python3 -m tools.networks                          # all networks, into onnx/; two minutes
    python3 -m tools.networks dcgan_mnist              # the network of one weight file
    python3 -m tools.networks --output-dir exported    # into another folder

Each script exports its own networks: this runs it with the flags of tools/registry.csv and
`--export`. The files are compared with Keras, see `lib.run.export`. The packages are in
requirements-export.txt.
"""

import argparse
import shlex
import sys
import tempfile
from collections.abc import Iterable
from pathlib import Path

from lib.files.errors import UserError
from lib.run import export, flags, program
from tools import registry
from tools.scripts import load_script

# {name of the pretrained weights: row of the registry}; tables of values are no networks.
PRETRAINED = {row.name: row for row in registry.pretrained() if row.files.endswith(".h5")}


def export_all(names: Iterable[str], folder: Path) -> None:
    """Exports pretrained networks into a folder, and prints a line for each file.

    Args:
        names: keys of PRETRAINED.
        folder: for the files, whose names begin with those.

    Raises:
        UserError: see `lib.run.export.write`.
    """
    export.check_packages()
    for name in names:
        export_with(PRETRAINED[name].command, folder / f"{name}.onnx")


def export_with(command: str, target: Path) -> None:
    """Runs a command of a script in this process with `--export`."""
    name, *words = shlex.split(command)
    path, before = registry.path_of(name.removesuffix(".py")), sys.argv
    with tempfile.TemporaryDirectory() as outputs:
        sys.argv = [path, *words, f"--export={target}", f"--output-dir={outputs}"]
        try:
            script = load_script(path)
            script.main(script.parse_args())
        finally:
            sys.argv = before


def main(args: argparse.Namespace) -> None:
    """Exports the chosen networks."""
    unknown = set(args.names) - set(PRETRAINED)
    if unknown:
        raise UserError(
            f"no pretrained network '{min(unknown)}': expected some of {', '.join(PRETRAINED)}"
        )
    program.load_keras()
    export_all(args.names or PRETRAINED, args.output_dir)


if __name__ == "__main__":
    parser = flags.Parser(__doc__)
    parser.add_argument("names", nargs="*", metavar="NAME", help="a weight file without .h5")
    parser.add_argument(
        "--output-dir", type=Path, default=Path("onnx"), help="folder of the files (default onnx)"
    )
    program.run(main, parser.parse_args(sys.argv[1:]))
