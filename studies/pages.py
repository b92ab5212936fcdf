"""The pages of the studies: what was measured stands between two marks in a README that people write."""

BEGIN, END = "<!-- results -->\n", "<!-- /results -->\n"


def write(path, text):
    """Put the results where the README has a place for them; a page that is not there is made of them alone."""
    readme = path.read_text(encoding="utf-8") if path.exists() else BEGIN + END
    before, rest = readme.split(BEGIN)
    path.write_text(before + BEGIN + text + END + rest.split(END)[1], encoding="utf-8")
