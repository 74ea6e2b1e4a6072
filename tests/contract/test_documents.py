"""What the documents point to is there, and so is what the Makefile promises."""

import re
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
LINK = re.compile(r"\]\(([^)\s]+)\)")
MADE = {ROOT / "bench" / "latest.json"}
"""Files that a target of make writes; they may not be there yet."""
MAKEFILES = ("Makefile", "clients/clients.mk")
CODE = re.compile(r"^```.*?^```|`[^`\n]*`", re.DOTALL | re.MULTILINE)


def documents() -> list[Path]:
    """Every Markdown file of the repository: known to git, or new and not ignored."""
    listed = subprocess.run(
        ["git", "ls-files", "--cached", "--others", "--exclude-standard", "*.md"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=True,
    )
    return [ROOT / line for line in listed.stdout.splitlines() if (ROOT / line).is_file()]


def links(text: str) -> list[str]:
    """Targets of the links in a document that lead to files beside it."""
    found = LINK.findall(CODE.sub("", text))
    return [each for each in found if not re.match(r"[a-z]+:|#", each)]


def test_there_are_documents_with_links() -> None:
    assert {"README.md", "CONTRIBUTING.md"} <= {path.name for path in documents()}
    assert len(links((ROOT / "README.md").read_text())) >= 8


@pytest.mark.parametrize("path", documents(), ids=lambda path: str(path.relative_to(ROOT)))
def test_every_link_leads_somewhere(path: Path) -> None:
    files = [path.parent / each.partition("#")[0] for each in links(path.read_text("utf-8"))]
    broken = [each for each in files if not each.exists() and each.resolve() not in MADE]
    assert not broken, f"{path.relative_to(ROOT)} links to what is not there"


def test_every_phony_target_has_a_rule() -> None:
    text = "\n".join((ROOT / name).read_text() for name in MAKEFILES)
    named = " ".join(re.findall(r"^\.PHONY:(.*)$", text, re.MULTILINE)).split()
    ruled = {
        name
        for line in re.findall(r"^([a-zA-Z][\w -]*):(?!=)", text, re.MULTILINE)
        for name in line.split()
    }
    assert len(named) >= 8
    assert not set(named) - ruled
