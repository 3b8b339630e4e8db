"""The texts of the doctor."""

import json

from ccproxy.cli.doctor.results import CheckResult, CheckStatus, document, is_well

FINE = CheckResult(CheckStatus.OK, "session", "started in 0.50 s", seconds=0.5)
BAD = CheckResult(CheckStatus.WRONG, "port", "cannot listen\nhere", "choose another")
OTHERS = [
    CheckResult(level, "key", "so") for level in (CheckStatus.NOTE, CheckStatus.SKIPPED)
]


def test_a_verdict_is_one_line_with_its_remedy() -> None:
    assert FINE.line(colour=False) == "ok       session   started in 0.50 s"
    line = BAD.line(colour=False)
    assert line == "wrong    port      cannot listen here; choose another"


def test_colour_is_on_the_first_word_only() -> None:
    plain = BAD.line(colour=False)
    assert BAD.line(colour=True) == f"\x1b[31mwrong  \x1b[0m{plain[7:]}"


def test_only_what_is_wrong_is_not_well() -> None:
    assert is_well([FINE, *OTHERS])
    assert not is_well([FINE, BAD, *OTHERS])


def test_document() -> None:
    told = json.loads(document([FINE, BAD], "1.2"))
    assert (told["ok"], told["version"]) == (False, "1.2")
    assert told["checks"] == [
        {
            "name": "session",
            "verdict": "ok",
            "message": "started in 0.50 s",
            "remedy": None,
            "seconds": 0.5,
        },
        {
            "name": "port",
            "verdict": "wrong",
            "message": "cannot listen\nhere",
            "remedy": "choose another",
            "seconds": None,
        },
    ]
