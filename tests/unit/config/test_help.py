"""The text of ``--help``."""

import pytest

from ccproxy.config.flags import SettingsOptions
from ccproxy.config.help import Entry, groups_of, section
from ccproxy.config.options import Option
from ccproxy.config.settings import OPTIONS


@pytest.mark.parametrize("width", [60, 80, 100])
def test_lines_fit(width: int) -> None:
    text = SettingsOptions().getUsage(width=width)
    # Words that have no blank may be longer.
    long = [line for line in text.splitlines() if len(line) > width]
    assert [line for line in long if len(line.split()) > 1] == []


def test_each_option_is_in_one_group() -> None:
    shown = [entry for group in groups_of(OPTIONS).values() for entry in group]
    assert len(shown) == len([o for o in OPTIONS if not o.is_hidden])
    assert len({entry.flags for entry in shown}) == len(shown)


def test_long_flags_have_a_line_of_their_own() -> None:
    short, long = Entry("--a", "what it does"), Entry(f"--{'b' * 40}", "something")
    lines = section("Group", [short, long], 80).splitlines()
    assert lines == [
        "Group:",
        f"  --a{'':25}what it does",
        f"  --{'b' * 40}",
        f"{'':30}something",
    ]


@pytest.mark.parametrize(
    "option", [o for o in OPTIONS if not o.is_hidden], ids=lambda option: option.flag
)
def test_a_help_is_clear_alone(option: Option) -> None:
    """No pronoun stands for something in the line before, and no sentence ends."""
    words = option.help.replace(",", " ").replace(":", " ").split()
    assert {"it", "its", "them", "they", "one"} & set(words[:3]) == set()
    assert not option.help.endswith(".")
    assert option.help[0].islower() or option.help.startswith("CLI ")
