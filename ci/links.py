#!/usr/bin/env python3
"""Every link between the Markdown files of this repository leads somewhere: to a file or folder that is there, and to a heading of it.

usage: links.py [ROOT]      links to other hosts are left alone: a check must not need the network
"""
import doctest
import os
import re
import sys
from pathlib import Path
from urllib.parse import unquote

LEFT_OUT = {"target", "node_modules"}
INLINE = re.compile(r"\]\(\s*<?([^()\s>]*(?:\([^()\s]*\)[^()\s>]*)*)>?(?:\s+[\"'][^\"']*[\"'])?\s*\)")
DEFINITION = re.compile(r"^\s{0,3}\[[^\]]+\]:\s*<?([^\s>]+)>?")
HTML = re.compile(r"<(?:a|img)\b[^>]*?\b(?:href|src)=[\"']([^\"']*)[\"']", re.I)
ID = re.compile(r"<[a-z][^>]*?\b(?:id|name)=[\"']([^\"']+)[\"']", re.I)
HEADING = re.compile(r"^ {0,3}#{1,6}\s+(.*?)\s*#*\s*$")
FENCE = re.compile(r"^\s*(```+|~~~+)")
SCHEME = re.compile(r"^[a-z][a-z0-9+.-]*:", re.I)


def lines_outside_fences(text):
    """Number and text of each line that is no code block.

    >>> list(lines_outside_fences("a\\n```\\n[x](y)\\n```\\nb"))
    [(1, 'a'), (5, 'b')]
    """
    fence = None
    for number, line in enumerate(text.split("\n"), 1):
        mark = FENCE.match(line)
        if fence is None and mark:
            fence = mark[1]
        elif fence is None:
            yield number, line
        elif mark and mark[1].startswith(fence):
            fence = None


def without_code(line):
    """
    >>> without_code("see `[x](y)` and ``a ` b`` here")
    'see  and  here'
    """
    return re.sub(r"(`+)(?!`).*?(?<!`)\1(?!`)", "", line)


def slug(heading):
    """The anchor of a heading, as GitHub makes it.

    >>> slug("`[schema.columns]`"), slug("What is *not* there: a_b, [c](d.md)"), slug("S3 & Kafka")
    ('schemacolumns', 'what-is-not-there-a_b-c', 's3--kafka')
    """
    text = re.sub(r"!?\[([^\]]*)\]\([^)]*\)", r"\1", heading)
    text = re.sub(r"(?<!\w)[*_]+|[*_]+(?!\w)|[`*]", "", text)
    return re.sub(r"[^\w\- ]", "", text.strip().lower()).replace(" ", "-")


def anchors(text):
    """Those of all headings, a second one of the same name with its number.

    >>> sorted(anchors("# A b\\n## A b\\n<a id='c'></a>"))
    ['a-b', 'a-b-1', 'c']
    """
    found, counts = set(), {}
    for _, line in lines_outside_fences(text):
        found.update(ID.findall(without_code(line)))
        if heading := HEADING.match(line):
            name = slug(heading[1])
            n = counts.get(name, 0)
            counts[name] = n + 1
            found.add(f"{name}-{n}" if n else name)
    return found


def links(text):
    """Where each link leads, with its line.

    >>> list(links("[a](b.md#c) ![d](e.png 'f')\\n[g]: h.md\\n<img src='i.png'> `[j](k)` [l](m_(n).md)"))
    [(1, 'b.md#c'), (1, 'e.png'), (2, 'h.md'), (3, 'm_(n).md'), (3, 'i.png')]
    """
    for number, line in lines_outside_fences(text):
        line = without_code(line)
        for pattern in (INLINE, DEFINITION, HTML):
            yield from ((number, target) for target in pattern.findall(line))


def markdown_files(root):
    for folder, folders, names in os.walk(root):
        folders[:] = sorted(name for name in folders if name not in LEFT_OUT and not name.startswith("."))
        yield from (Path(folder) / name for name in sorted(names) if name.endswith(".md"))


def fault(root, path, target):
    """What is wrong with a link, or None."""
    if SCHEME.match(target):
        return None
    file, _, anchor = target.partition("#")
    if file.startswith("/"):
        return "begins with /: write it relative to its own file"
    aim = Path(os.path.normpath(path.parent / unquote(file))) if file else path
    if root != aim and root not in aim.parents:
        return "leads out of the repository"
    if not aim.exists():
        return "there is no such file"
    if anchor and aim.suffix == ".md" and unquote(anchor) not in anchors(aim.read_text(encoding="utf-8")):
        return f"{aim.relative_to(root)} has no heading with this anchor"
    return None


def main():
    root = Path(os.path.abspath(sys.argv[1] if len(sys.argv) > 1 else Path(__file__).parent.parent))
    n_links, faults = 0, []
    for path in markdown_files(root):
        for line, target in links(path.read_text(encoding="utf-8")):
            n_links += 1
            if why := fault(root, path, target):
                faults.append(f"{path.relative_to(root)}:{line}: {target}: {why}")
    print("\n".join(faults) or f"links: all {n_links} lead somewhere")
    return 1 if faults or n_links == 0 else 0


if __name__ == "__main__":
    sys.exit(2 if doctest.testmod().failed else main())
