"""Writes the address of the repository wherever a reader needs it.

    make address URL=https://HOST/OWNER/NAME

CITATION.cff holds the address, from which `make site` takes it. The README gets the command that
clones the repository, and each notebook gets the address. With an address on GitHub, both get
their links to Colab, and the README gets the link to the explorer on GitHub Pages.
"""

import re
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
BADGE = "[![Open in Colab](https://colab.research.google.com/assets/colab-badge.svg)]"


def write(root: Path, url: str) -> None:
    """Writes the address into the files of a folder; a second call changes nothing."""

    def change(name, *changes):
        text = (root / name).read_text()
        for pattern, new in changes:
            text, found = re.subn(pattern, new.replace("\\", r"\\"), text, flags=re.MULTILINE)
            assert found, f"{name} has no place for the address: {pattern}"
        (root / name).write_text(text)

    colab, jupyter, explorer = "", "Jupyter and VS Code", "#try-it-in-the-browser"
    if url.startswith("https://github.com/"):
        owner, name = url.split("/")[3:5]
        colab = f"https://colab.research.google.com/github/{owner}/{name}/blob/main/notebooks"
        jupyter = f"Jupyter, VS Code and [Colab]({colab})"
        explorer = f"https://{owner.lower()}.github.io/{name}/explorer/"
    change(
        "CITATION.cff", (r"^(repository-code:.*\n)?license:", f'repository-code: "{url}"\nlicense:')
    )
    change(
        "README.md",
        (
            r"(In the folder you downloaded:\n\n```|```\ngit clone \S+ adlk && cd adlk)\nmake demo",
            f"```\ngit clone {url} adlk && cd adlk\nmake demo",
        ),
        (r"They run in Jupyter.*\.$", f"They run in {jupyter}."),
        (r"\[explorer\]\([^)]+\)", f"[explorer]({explorer})"),
    )
    for path in (root / "notebooks").glob("*.ipynb"):
        title = re.findall(r'^    "# Chapter .*\n', path.read_text(), flags=re.MULTILINE)[0]
        old = re.escape(title) + r'(    "\\n",\n    "\[!\[Open in Colab.*\n)?'
        badge = f'    "\\n",\n    "{BADGE}({colab}/{path.name})\\n",\n' if colab else ""
        address = (r'ADDRESS = \\"[^"\\]*', f'ADDRESS = \\"{url}')
        change(f"notebooks/{path.name}", address, (old, title + badge))


if __name__ == "__main__":
    url = "".join(sys.argv[1:]).removesuffix("/").removesuffix(".git")
    if not re.fullmatch(r"https://[\w.-]+(:\d+)?/[\w.-]+(/[\w.-]+)+", url):
        print(f"no address '{url}': expected URL=https://HOST/OWNER/NAME", file=sys.stderr)
        raise SystemExit(2)
    write(ROOT, url)
    print(f"{url} is in CITATION.cff, README.md and the notebooks.")
