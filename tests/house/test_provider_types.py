"""The table of the provider's types is that of the ``anthropic`` package.

It is here, because to import the package takes seconds, more so with coverage.
"""

import json

from tests.support.generate_provider_types import TABLE, generate


def test_the_table_of_types_is_that_of_the_package() -> None:
    table = json.loads(TABLE.read_text())
    generated = generate()
    if generated["version"] == table["version"]:
        assert table == generated
    assert len(table["types"]) > 150
