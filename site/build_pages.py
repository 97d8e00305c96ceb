"""Builds the pages of the site from the Markdown files, the scripts and the records.

    python3 site/build_pages.py                     # into site/_build/html
    python3 site/build_pages.py --repository URL    # link folders at URL/results, ...

Each script and each module has a page of its own: its docstring as prose, its figures, its measured
results, and its code, function by function. Nothing on a page is written here.

Sphinx with MyST renders the pages. MyST reads the Markdown of the repository as it is. Sphinx
reports every broken link as a warning, which ends the build with an error.
"""

import argparse
import ast
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
BUILD = ROOT / "site/_build"
SOURCE = BUILD / "source"
HTML = BUILD / "html"
sys.path[:0] = [str(ROOT), str(ROOT / "site")]

import explorer_results  # noqa: E402
import explorer_sources  # noqa: E402

from tools import registry  # noqa: E402
from tools.tables import cells  # noqa: E402

LINK = re.compile(r"(?<=\]\()([^)\s]+)(?=\))|(?<=src=\")([^\"]+)(?=\")")
CODE = re.compile(r"(^```.*?^```|`[^`\n]+`)", re.MULTILINE | re.DOTALL)
ITEM = re.compile(r" ?\d+\. ")
PANEL = re.compile(r'<a href="#([\w-]+)">([^<]+)</a>')  # in the navigation of the explorer
# What only a reader of the repository needs: how to build the site.
NOT_HERE = re.compile(
    r"<!-- not on the site -->.*?<!-- end -->\n*|^make site [^\n]*\n", re.DOTALL | re.MULTILINE
)
CHAPTERS = sorted(ROOT.glob("chapter*-*"), key=lambda path: int(re.search(r"\d+", path.name)[0]))
PAGES = (
    "GUIDE.md",
    "FIGURES.md",
    "WEIGHTS.md",
    "DIFFERENCES.md",
    "CONTRIBUTING.md",
    "CHANGELOG.md",
    "SECURITY.md",
    "benchmarks/README.md",
    "lib/README.md",
    "lib/data/README.md",
)


def modules():
    """Returns the Python files that have a page, besides the scripts."""
    files = [
        file for folder in ("lib", "tools", "benchmarks") for file in ROOT.glob(f"{folder}/**/*.py")
    ]
    return sorted(path for path in files if path.name != "__init__.py")


def scripts(chapter):
    """Returns the scripts of a chapter, in the order of their sections."""
    return sorted(chapter.glob("*.py"), key=lambda path: path.stem.rpartition("-")[2])


# Links


def page_of(path):
    """Returns the page of a file or folder of the repository as a path, or None."""
    relative = path.relative_to(ROOT)
    if path == ROOT / "README.md" or path == ROOT:
        return Path("index.md")
    if path.is_dir() and (path / "README.md").exists():
        return relative / "README.md"
    if path in modules() or (path.parent in CHAPTERS and path.suffix == ".py"):
        return relative.with_suffix(".md")
    return relative if path.suffix == ".md" else None


def adjusted(text, folder, repository):
    """Lets the links of a Markdown file point to pages; copies the other files that it names.

    Args:
        text: the Markdown.
        folder: where the file is in the repository.
        repository: address of the repository's files, or None. Without it, a link to a folder
            becomes plain text.
    """

    def change(match):
        target, _, anchor = match[0].partition("#")
        if not target or "://" in target:
            return match[0]
        path = (folder / target).resolve()
        page = page_of(path)
        if page is not None:
            found = os.path.relpath(page, folder.relative_to(ROOT))
            return found + (f"#{anchor}" if anchor else "")
        if path.is_dir():
            return f"{repository}/{path.relative_to(ROOT)}" if repository else "NOWHERE"
        copy(path)
        return match[0]

    parts = CODE.split(text)
    parts[::2] = [LINK.sub(change, part) for part in parts[::2]]
    return re.sub(r"\[([^\]]+)\]\(NOWHERE\)", r"\1", "".join(parts))


def copy(path):
    """Copies a file of the repository to the same place among the sources."""
    target = SOURCE / path.relative_to(ROOT)
    target.parent.mkdir(parents=True, exist_ok=True)
    shutil.copyfile(path, target)


def write(relative, text):
    """Writes a page."""
    path = SOURCE / relative
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)


# Pages of scripts and modules


def prose(docstring):
    """Returns a docstring as Markdown: indented lines become code, numbered lines a list."""
    parts, code, lines = [], [], []

    def close():
        if lines:
            parts.append("\n".join(lines))
        if any(code):
            parts.append("```text\n" + "\n".join(code).strip("\n") + "\n```")
        lines.clear()
        code.clear()

    numbered = False
    for line in docstring.splitlines():
        numbered = bool(ITEM.match(line)) or (numbered and line.startswith("    "))
        if line.startswith("    ") and not numbered:
            if lines:
                close()
            code.append(line[4:])
        elif not line.strip():
            # A blank line inside of code belongs to it.
            code.append("") if code else close()
        else:
            if code:
                close()
            item = ITEM.match(line)
            if item and lines and not ITEM.match(lines[0]):
                close()
            lines.append(escaped(line.strip() if item or not numbered else "    " + line.strip()))
    close()
    return "\n\n".join(parts)


def escaped(line):
    """Returns a line of prose in which Markdown sees no markup outside of backquotes."""
    parts = re.split(r"(`[^`]*`)", line)
    parts[::2] = [re.sub(r"([*<>|\[\]\\])", r"\\\1", part) for part in parts[::2]]
    return "".join(parts)


def sections(source):
    """Splits a file at its functions and classes.

    Returns:
        The docstring and pairs (title, code).
    """
    tree, lines = ast.parse(source), source.splitlines()
    found, start = [], tree.body[0].end_lineno if ast.get_docstring(tree) else 0
    title = "Imports and settings"
    for node in tree.body:
        if isinstance(node, (ast.FunctionDef, ast.ClassDef)):
            first = min([node.lineno, *(each.lineno for each in node.decorator_list)]) - 1
            found.append((title, lines[start:first]))
            kind = "class " if isinstance(node, ast.ClassDef) else ""
            found.append((f"{kind}{node.name}", lines[first : node.end_lineno]))
            start, title = node.end_lineno, "Settings"
    found.append(("Start", lines[start:]))
    pairs = [(title, "\n".join(code).strip("\n")) for title, code in found]
    return ast.get_docstring(tree) or "", [pair for pair in pairs if pair[1].strip()]


def panels_of(script):
    """Returns the links to the panels of the explorer that run a script, or an empty text.

    They are HTML, because Sphinx does not know the pages that build_explorer.py makes.
    """
    measured, shown, links = explorer_results.MEASURED, explorer_sources.SOURCES, []
    for panel, title in PANEL.findall((ROOT / "site/explorer/index.html").read_text()):
        if script.stem in [row[0] for row in measured.get(panel, ())] + [shown[panel].path]:
            links.append(f'<a href="../explorer/index.html#{panel}">{title}</a>')
    return f"Try it in your browser: {', '.join(links)}." if links else ""


def code_page(path, extra="", top=""):
    """Returns the page of a Python file.

    `top` is Markdown before the prose, `extra` between the prose and the code.
    """
    docstring, pairs = sections(path.read_text())
    text = f"# {path.name}\n\n{top}\n\n{prose(docstring)}\n\n{extra}\n\n## Code\n"
    for title, code in pairs:
        # A remark between two functions does not get a section.
        if title in ("Settings", "Start") and len(code.splitlines()) < 4:
            text += f"\n```python\n{code}\n```\n"
        else:
            text += f"\n### {title}\n\n```python\n{code}\n```\n"
    return text


def results_of(script):
    """Returns the measured results of a script as a Markdown table, or an empty text."""
    rows = registry.published(script=script.stem)
    if not rows:
        return ""
    lines = [[row.measure, row.value(), row.book] for row in rows]
    return "## Results\n\n" + cells.table(["measure", "here", "the book"], lines)


def figures_of(script):
    """Returns the figures of a script as Markdown, or an empty text."""
    rows = registry.rows(script=script.stem)
    found = {figure: row.command for row in rows for figure in row.figures().values()}
    method = script.stem.partition("-")[0]
    evolution = script.parent / "figures" / f"{method}-evolution.png"
    if evolution.exists():
        found = {evolution.name: f"{script.name} --mixed-precision", **found}
    text = ""
    for name, command in found.items():
        copy(script.parent / "figures" / name)
        text += f"![{name}](figures/{name})\n\nDrawn by `{command}`.\n\n"
    return f"## Figures\n\n{text}" if text else ""


def module_list():
    """Returns a page with the first line of each module."""
    text = "# Modules\n\nWhat the scripts share, and the benchmarks.\n\n"
    for path in modules():
        first = (ast.get_docstring(ast.parse(path.read_text())) or "").partition("\n")[0]
        name = path.relative_to(ROOT)
        text += f"- [{name}]({name.with_suffix('.md')}): {escaped(first)}\n"
    return text + toctree("Modules", [path.relative_to(ROOT) for path in modules()])


# The whole site


def toctree(caption, pages):
    """Returns a hidden table of contents for the sidebar."""
    listed = "\n".join(str(Path(page).with_suffix("")) for page in pages)
    return f"\n```{{toctree}}\n:hidden:\n:caption: {caption}\n\n{listed}\n```\n"


def write_sources(repository):
    """Writes all pages and what Sphinx needs."""
    shutil.rmtree(SOURCE, ignore_errors=True)
    SOURCE.mkdir(parents=True)
    home = adjusted(NOT_HERE.sub("", (ROOT / "README.md").read_text()), ROOT, repository)
    home = re.sub(r"\[explorer\]\([^)]+\)", '<a href="explorer/index.html">explorer</a>', home)
    home += toctree("Chapters", [f"{chapter.name}/README.md" for chapter in CHAPTERS])
    home += toctree(
        "Results",
        ["GUIDE.md", "FIGURES.md", "WEIGHTS.md", "DIFFERENCES.md", "benchmarks/README.md"],
    )
    home += toctree("Project", ["CONTRIBUTING.md", "modules.md", "CHANGELOG.md", "SECURITY.md"])
    write("index.md", home)
    write("modules.md", module_list())
    for page in PAGES:
        path = ROOT / page
        text = adjusted(path.read_text(), path.parent, repository)
        write(page, ("---\norphan: true\n---\n" if page.startswith("lib/") else "") + text)
    for chapter in CHAPTERS:
        text = adjusted((chapter / "README.md").read_text(), chapter, repository)
        listed = [path.name for path in scripts(chapter)]
        title, first, rest = text.split("\n\n", 2)
        links = ", ".join(f"[{name}]({Path(name).with_suffix('.md')})" for name in listed)
        text = "\n\n".join((title, first, f"Scripts: {links}.", rest))
        write(f"{chapter.name}/README.md", text + toctree("Scripts", listed))
        for script in scripts(chapter):
            extra = results_of(script) + "\n\n" + figures_of(script)
            write(
                script.relative_to(ROOT).with_suffix(".md"),
                code_page(script, extra, panels_of(script)),
            )
    for path in modules():
        write(path.relative_to(ROOT).with_suffix(".md"), code_page(path))
    for name in ("conf.py", "pages.css", "explorer/favicon.svg"):
        shutil.copyfile(ROOT / "site" / name, SOURCE / Path(name).name)


def main():
    """Writes the sources and runs Sphinx, which ends with an error at the first warning."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument(
        "--repository",
        metavar="URL",
        help="address of the repository's files, such as https://HOST/OWNER/NAME/blob/main",
    )
    args = parser.parse_args()
    write_sources(args.repository)
    words = ["-b", "html", "-W", "--keep-going", "-q", "-d", BUILD / "doctrees", SOURCE, HTML]
    done = subprocess.run([sys.executable, "-m", "sphinx", *map(str, words)])
    if done.returncode == 0:
        print(f"Pages: {HTML}/index.html")
    raise SystemExit(done.returncode)


if __name__ == "__main__":
    main()
