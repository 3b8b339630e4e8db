"""docs/dependencies.md lists the dependencies of pyproject.toml, which have bounds."""

import tomllib

from packaging.requirements import Requirement

from tests.support.docs import DOCS, ROOT, rows

_PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())
# Whose next major version may change what we call.
_BOUNDED = {
    *("alembic", "h11", "jsonschema", "msgspec", "prometheus-client", "psycopg"),
    *("referencing", "sqlalchemy", "werkzeug", "wsproto"),
}


def requirements() -> list[Requirement]:
    """All of them, without those that stand for others of this list."""
    project = _PROJECT["project"]
    extras = project["optional-dependencies"].values()
    asked = [*project["dependencies"], *(text for extra in extras for text in extra)]
    asked += _PROJECT["build-system"]["requires"]
    found = [Requirement(text) for text in asked]
    return [one for one in found if one.name != project["name"]]


def test_each_is_on_the_page_and_was_tried_within_its_bounds() -> None:
    table = rows(DOCS / "dependencies.md", "dependencies")
    tried = {name: version for name, _, _, version in table}
    assert set(tried) == {one.name for one in requirements()}
    for one in requirements():
        assert tried[one.name] in one.specifier, f"{one} was tried as {tried[one.name]}"


def test_each_has_a_lower_bound() -> None:
    for one in requirements():
        assert {s.operator for s in one.specifier} & {">=", "=="}, f"{one} has none"


def test_upper_bounds_are_where_they_are_needed() -> None:
    bounded = {
        one.name for one in requirements() if "<" in {s.operator for s in one.specifier}
    }
    assert bounded == _BOUNDED
