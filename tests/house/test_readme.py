"""The README's table of settings is the code's."""

from pathlib import Path

from ccproxy.config.options import OPTIONS, Option

README = Path(__file__).parent.parent.parent / "README.md"


def row(option: Option) -> str:
    flag = f"`--{option.name}`"
    if option.short:
        flag += f", `-{option.short}`"
    default = f"`{option.default}`" if option.default else ""
    return f"| {flag} | `{option.environment}` | {default} | {option.help} |"


def test_settings_table() -> None:
    text = README.read_text()
    table = text.partition("<!-- settings:")[2].partition("<!-- /settings")[0]
    rows = [line for line in table.splitlines() if line.startswith("| `")]
    assert rows == [row(option) for option in OPTIONS]
