"""The completion scripts and the man page are made from the options."""

import pytest

from ccproxy.cli.commands import COMMANDS
from ccproxy.cli.service.command import ACTIONS
from tests.support.reference import MAN_PAGE, man_page, scripts, tree

MAKE = "they are not up to date: run `python -m tests.support.reference`"


def test_scripts_are_those_of_the_options() -> None:
    pytest.importorskip("shtab", reason="needs shtab, of the extra test")
    assert all(path.read_text() == text for path, text in scripts().items()), MAKE


def test_man_page_is_that_of_the_options() -> None:
    assert MAN_PAGE.read_text() == man_page(), MAKE


def test_every_command_is_in_the_scripts_and_the_man_page() -> None:
    commands = tree()
    assert set(commands.parts) == set(COMMANDS)
    assert set(commands.parts["service"].parts) == set(ACTIONS)
