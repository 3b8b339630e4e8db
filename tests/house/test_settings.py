"""The table of docs/settings.md agrees with the code."""

from ccproxy.config.options import Option
from ccproxy.config.settings import OPTIONS
from tests.support.docs import DOCS


def row(option: Option) -> str:
    flag = f"`--{option.flag}`"
    if option.letter:
        flag += f", `-{option.letter}`"
    default = f"`{option.default}`" if option.default else option.default_text
    return f"| {flag} | `{option.variable}` | {default} | {option.help} |"


def test_settings_table() -> None:
    text = (DOCS / "settings.md").read_text()
    table = text.partition("<!-- settings:")[2].partition("<!-- /settings")[0]
    rows = [line for line in table.splitlines() if line.startswith("| `")]
    assert rows == [row(option) for option in OPTIONS if not option.is_hidden]
