#!/usr/bin/env python3
"""Builds the documentation as a site: book.py MDBOOK OUTPUT. Every link of the site must lead somewhere.

Pages stay where they are read on their own: README.md, docs/, deploy/ and so on. This script lays the pages that docs/SUMMARY.md
lists out as one book, rewrites the links between them, and turns links to files that are not in the book into text. Blocks that
are marked for the tests lose the mark, and say why they are not run.
"""

import html.parser
import pathlib
import re
import shutil
import subprocess
import sys
import urllib.parse

ROOT = pathlib.Path(__file__).resolve().parent.parent
SUMMARY = ROOT / "docs" / "SUMMARY.md"
LINK = re.compile(r"(?P<image>!?)\[(?P<text>[^\]]*)\]\((?P<target>[^)\s]+)\)")
PICTURES = {".svg", ".png", ".jpg", ".webp"}


def place(page: pathlib.Path) -> pathlib.Path:
    """Where a file of the repository lies in the book."""
    relative = page.relative_to(ROOT)
    if relative.parts[0] == "docs":
        relative = relative.relative_to("docs")
    if relative.name == "README.md":
        # mdBook makes these index.html.
        relative = relative.with_name("index.md") if relative.parent.parts else pathlib.Path("introduction.md")
    return relative


def listed() -> dict:
    """The pages of the book and where each lies in it, by path in the repository."""
    targets = [match["target"] for match in LINK.finditer(SUMMARY.read_text())]
    pages = [(SUMMARY.parent / target).resolve() for target in targets]
    missing = [str(page.relative_to(ROOT)) for page in pages if not page.is_file()]
    if missing:
        sys.exit(f"docs/SUMMARY.md names what is not there: {', '.join(missing)}")
    return {page: place(page) for page in pages}


def relative(target: pathlib.Path, base: pathlib.Path) -> str:
    """A path in the book, as a page in the directory `base` of the book writes it."""
    up = [".."] * len(base.parts)
    return "/".join([*up, *target.parts])


def rewritten(page: pathlib.Path, at: pathlib.Path, pages: dict, pictures: dict) -> str:
    """A page's text with the links that it has in the book."""

    def link(match: re.Match) -> str:
        target, _, anchor = match["target"].partition("#")
        if "://" in target or target.startswith("mailto:") or not target:
            return match[0]
        file = (page.parent / urllib.parse.unquote(target)).resolve()
        if file in pages:
            new = relative(pages[file], at.parent)
        elif file.suffix in PICTURES and file.is_file():
            pictures[file] = place(file)
            new = relative(pictures[file], at.parent)
        else:
            return match["text"]
        return f"{match['image']}[{match['text']}]({new}{'#' + anchor if anchor else ''})"

    lines, fenced = [], False
    for line in page.read_text().splitlines():
        if line.startswith("```"):
            if not fenced:
                language, _, mark = line[3:].partition(" ")
                reason = mark.removeprefix("untested: ") if mark.startswith("untested: ") else None
                lines += [f"*Not run by the tests: {reason}.*", ""] if reason else []
                line = f"```{language}"
            fenced = not fenced
        elif not fenced:
            line = LINK.sub(link, line)
        lines.append(line)
    return "\n".join(lines) + "\n"


class Page(html.parser.HTMLParser):
    """The links and anchors of a built page."""

    def __init__(self):
        super().__init__()
        self.links, self.anchors = [], set()

    def handle_starttag(self, tag, attributes):
        attributes = dict(attributes)
        if attributes.get("id"):
            self.anchors.add(attributes["id"])
        if tag == "a" and attributes.get("name"):
            self.anchors.add(attributes["name"])
        for key in ("href", "src"):
            if attributes.get(key):
                self.links.append(attributes[key])


def dead_links(built: pathlib.Path) -> list:
    """Links of the site that lead nowhere, and the pages that have them."""
    pages = {}
    for file in sorted(built.rglob("*.html")):
        page = Page()
        page.feed(file.read_text())
        pages[file.resolve()] = page
    dead = []
    for file, page in pages.items():
        # It is shown at any path.
        if file.name == "404.html":
            continue
        for link in page.links:
            parts = urllib.parse.urlsplit(link)
            if parts.scheme or parts.netloc:
                continue
            target = (file.parent / urllib.parse.unquote(parts.path)).resolve() if parts.path else file
            there = target.is_file()
            anchored = not parts.fragment or target not in pages or parts.fragment in pages[target].anchors
            if not (there and anchored):
                dead.append(f"{file.relative_to(built.resolve())}: {link}")
    return dead


def main() -> None:
    if len(sys.argv) != 3:
        sys.exit("usage: book.py MDBOOK OUTPUT")
    mdbook, output = sys.argv[1], pathlib.Path(sys.argv[2]).resolve()
    pages, pictures = listed(), {}
    shutil.rmtree(output, ignore_errors=True)
    source = output / "src"
    for page, at in [*pages.items(), (SUMMARY, pathlib.Path("SUMMARY.md"))]:
        (source / at).parent.mkdir(parents=True, exist_ok=True)
        (source / at).write_text(rewritten(page, at, pages, pictures))
    for picture, at in pictures.items():
        (source / at).parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(picture, source / at)
    for name in ["book.toml", "book.css"]:
        shutil.copyfile(ROOT / "docs" / name, output / name)
    built = subprocess.run([mdbook, "build", str(output)], capture_output=True, text=True)
    said = built.stdout + built.stderr
    if built.returncode != 0 or "WARN" in said or "ERROR" in said:
        sys.exit(said or f"mdbook ended with code {built.returncode}")
    dead = dead_links(output / "html")
    if dead:
        sys.exit("links that lead nowhere:\n" + "\n".join(dead))
    print(f"{len(pages)} pages: {output}/html/index.html")


if __name__ == "__main__":
    main()
