"""The table of docs/settings.md is the code's."""

from ccproxy.config.options import OPTIONS, Option
from tests.support.docs import DOCS


def row(option: Option) -> str:
    flag = f"`--{option.name}`"
    if option.short:
        flag += f", `-{option.short}`"
    default = f"`{option.default}`" if option.default else ""
    return f"| {flag} | `{option.environment}` | {default} | {option.help} |"


def test_settings_table() -> None:
    text = (DOCS / "settings.md").read_text()
    table = text.partition("<!-- settings:")[2].partition("<!-- /settings")[0]
    rows = [line for line in table.splitlines() if line.startswith("| `")]
    assert rows == [row(option) for option in OPTIONS]
