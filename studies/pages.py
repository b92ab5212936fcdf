"""The pages of the studies: what was measured stands between two marks in a README that people write."""


def write(path, text, name="results"):
    """Put the results where the README has a place of that name; a page that is not there is made of them alone."""
    begin, end = f"<!-- {name} -->\n", f"<!-- /{name} -->\n"
    readme = path.read_text(encoding="utf-8") if path.exists() else begin + end
    before, rest = readme.split(begin)
    path.write_text(before + begin + text + end + rest.split(end)[1], encoding="utf-8")


def table(head, rows):
    """A table of Markdown; all but the first column is numbers."""
    lines = [head, ["---", *["---:"] * (len(head) - 1)], *rows]
    return "\n" + "".join(f"| {' | '.join(map(str, line))} |\n" for line in lines) + "\n"
