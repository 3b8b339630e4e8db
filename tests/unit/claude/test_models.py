"""The models of the CLI, and the model that a name means."""

from time import process_time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ccproxy.claude.models import Catalogue, NamedModel
from ccproxy.claude.protocol.records import ModelInfo
from ccproxy.core.backend import ModelSize
from ccproxy.core.errors import ModelNotFound

# As the CLI tells them.
MODELS = (
    ModelInfo(value="default", resolved_model="claude-sonnet-4-5-20250929"),
    ModelInfo(value="sonnet", resolved_model="claude-sonnet-4-5-20250929"),
    ModelInfo(value="opus", resolved_model="claude-opus-5-5"),
    ModelInfo(value="haiku", resolved_model="claude-haiku-4-5-20251001"),
    ModelInfo(value="opusplan"),
    ModelInfo(value="Sonnet[1m]", resolved_model="claude-sonnet-4-5-20250929[1m]"),
)
FULL_IDS = (
    "claude-sonnet-4-5-20250929",
    "claude-opus-5-5",
    "claude-haiku-4-5-20251001",
    "claude-sonnet-4-5-20250929[1m]",
)


def catalogue(
    *model_map: tuple[str, str], default: str = "sonnet", learned: bool = False
) -> Catalogue:
    made = Catalogue(default, model_map, 1_700_000_000)
    if learned:
        made.learn(MODELS)
    return made


def names(made: Catalogue) -> list[str]:
    return [entry.name for entry in made.entries()]


# Names.


@pytest.mark.parametrize(
    ("name", "alias"),
    [
        ("haiku", "haiku"),
        ("sonnet", "sonnet"),
        ("opus", "opus"),
        ("OPUS", "opus"),
        (" opus ", "opus"),
        ("claude-opus-4-5", "opus"),
        ("claude-opus-4.5", "opus"),
        ("Claude-Opus-4-5", "opus"),
        ("claude opus 4.5", "opus"),
        ("anthropic/claude-sonnet-4.5", "sonnet"),
        ("openrouter/anthropic/claude-sonnet-4.5", "sonnet"),
        ("claude-code-proxy/opus", "opus"),
        ("anthropic/opus-4.5", "opus"),
        ("anthropic.opus-4.5", "opus"),
        ("opus-4.5", "opus"),
        ("claude_haiku", "haiku"),
        ("claude-haiku", "haiku"),
        ("claude-3-7-sonnet", "sonnet"),
        ("claude-3-5-sonnet-latest", "sonnet"),
        ("claude-3-opus-20240229", "opus"),
        ("claude-sonnet-4-20250514", "sonnet"),
        ("claude-sonnet-4-5@20250929", "sonnet"),
        ("anthropic.claude-3-haiku-20240307-v1:0", "haiku"),
        ("us.anthropic.claude-sonnet-4-5-20250929-v1:0", "sonnet"),
        ("global.anthropic.claude-opus-4-5-20251101-v1:0", "opus"),
        ("bedrock/eu.anthropic.claude-sonnet-4-5-20250929-v1:0", "sonnet"),
        ("us-gov.anthropic.claude-3-haiku-20240307-v1:0", "haiku"),
    ],
)
def test_a_name_means_its_family(name: str, alias: str) -> None:
    assert catalogue().resolve(name) == alias


def test_a_dated_id_that_the_cli_does_not_know_means_its_family() -> None:
    made = catalogue(learned=True)
    assert made.resolve("claude-opus-4-1-20250805") == "opus"


def test_a_dated_id_means_its_family_before_the_cli_has_told() -> None:
    assert catalogue().resolve("claude-sonnet-4-5-20250929") == "sonnet"


@pytest.mark.parametrize("name", FULL_IDS)
def test_a_full_id_passes_as_it_is(name: str) -> None:
    assert catalogue(learned=True).resolve(name) == name


def test_a_full_id_is_found_in_any_case() -> None:
    made = catalogue(learned=True)
    assert made.resolve("CLAUDE-OPUS-5-5") == "claude-opus-5-5"


@pytest.mark.parametrize("name", ["opusplan", "OpusPlan"])
def test_an_alias_that_the_cli_told_is_known(name: str) -> None:
    assert catalogue(learned=True).resolve(name) == "opusplan"


def test_an_alias_is_passed_in_the_clis_own_case() -> None:
    assert catalogue(learned=True).resolve("sonnet[1m]") == "Sonnet[1m]"


def test_an_alias_with_a_vendor_is_known() -> None:
    assert catalogue(learned=True).resolve("anthropic/opusplan") == "opusplan"


@pytest.mark.parametrize("name", [None, "", "  ", "default", "Default"])
def test_no_name_is_the_default(name: str | None) -> None:
    assert catalogue(default="opus").resolve(name) == "opus"


def test_the_default_is_looked_up_too() -> None:
    assert catalogue(default="Claude-Opus-4.5").resolve(None) == "opus"


def test_an_unknown_default_is_the_operators_business() -> None:
    arn = "arn:aws:bedrock:us-east-1:1:inference-profile/Mine"
    assert catalogue(default=arn).resolve(None) == arn


@pytest.mark.parametrize(
    "name",
    [
        "gpt-4o",
        "o3",
        "claude",
        "claude-4-5",
        "sonnets",
        "my-opus-finetune",
        "opus-sonnet",
        "gpt-4o/opus/mini",
        "/",
        "*",
    ],
)
def test_another_name_is_not_found(name: str) -> None:
    with pytest.raises(ModelNotFound) as caught:
        catalogue().resolve(name)
    assert caught.value.param == "model"
    assert caught.value.status == 404
    assert repr(name) in caught.value.message


def test_what_is_not_found_tells_what_there_is() -> None:
    made = catalogue(("gpt-4o-mini", "haiku"), learned=True)
    with pytest.raises(ModelNotFound) as caught:
        made.resolve("gpt-4o")
    for name in ("haiku", "sonnet", "opus", "claude-opus-5-5", "gpt-4o-mini"):
        assert name in caught.value.message
    assert "--model-map" in caught.value.message


@pytest.mark.parametrize("piece", ["a/", "a.", "a-", "anthropic.", "claude", "opus-"])
def test_a_long_name_does_not_keep_the_server_busy(piece: str) -> None:
    name = piece * (50_000 // len(piece)) + "4.5"
    before = process_time()
    with pytest.raises(ModelNotFound):
        catalogue(("*b*", "opus")).resolve(name)
    # Some milliseconds, against three seconds where time grows by the square.
    assert process_time() - before < 1


# Sizes.


def test_size_of_a_model_is_known_by_every_name_of_it() -> None:
    made = catalogue(("gpt-4o", "opus"), default="opus", learned=True)
    assert {entry.size for entry in made.entries()} == {ModelSize()}
    size = ModelSize(context_tokens=200_000, output_tokens=64_000)
    made.learn_sizes({"claude-opus-5-5": size})
    sized = {entry.name for entry in made.entries() if entry.size == size}
    assert sized == {"opus", "claude-opus-5-5", "gpt-4o"}
    assert made.find("anthropic/claude-opus-4.5:thinking").size == size
    assert made.find("haiku").size == ModelSize()


# Suffixes.


@pytest.mark.parametrize(
    ("name", "model", "asks"),
    [
        ("sonnet-thinking", "sonnet", "thinks"),
        ("claude-sonnet-4-5-thinking", "sonnet", "thinks"),
        ("claude-sonnet-4-20250514-thinking", "sonnet", "thinks"),
        ("anthropic/claude-3.7-sonnet:thinking", "sonnet", "thinks"),
        ("Claude-Opus-4.5-Reasoning", "opus", "thinks"),
        ("claude-opus-5-5-thinking", "claude-opus-5-5", "thinks"),
        ("us.anthropic.claude-opus-4-5-20251101-v1:0:thinking", "opus", "thinks"),
        ("anthropic/claude-sonnet-4.5:online", "sonnet", "searches_web"),
        ("opus:thinking:online", "opus", "thinks searches_web"),
        ("sonnet[1m]", "Sonnet[1m]", ""),
        ("claude-sonnet-4-5[1m]", "Sonnet[1m]", ""),
        ("anthropic/claude-sonnet-4.5[1m]", "Sonnet[1m]", ""),
        ("sonnet-thinking[1m]", "Sonnet[1m]", "thinks"),
        ("haiku[1m]", "haiku", "ignored"),
        ("claude-haiku-4-5[1m]:thinking", "haiku", "thinks ignored"),
        ("anthropic/claude-haiku-4.5:free", "haiku", "ignored"),
        ("anthropic/claude-opus-4.5:nitro", "opus", "ignored"),
        ("anthropic/claude-3.7-sonnet:beta", "sonnet", "ignored"),
    ],
)
def test_suffixes_of_a_name(name: str, model: str, asks: str) -> None:
    named = catalogue(learned=True).read(name)
    assert named.model == model
    assert named.thinks == ("thinks" in asks)
    assert named.searches_web == ("searches_web" in asks)
    assert named.ignored == (("model",) if "ignored" in asks else ())


@pytest.mark.parametrize(
    "name", ["gpt-4o-thinking", ":thinking", "[1m]", "sonnet-thinking-x", "o3:online"]
)
def test_suffix_of_no_model_is_not_found(name: str) -> None:
    with pytest.raises(ModelNotFound) as caught:
        catalogue(learned=True).read(name)
    assert repr(name) in caught.value.message


def test_mapping_of_a_name_with_its_suffix_comes_first() -> None:
    made = catalogue(("opus-thinking", "haiku"), ("gpt-*-thinking", "opus"))
    assert made.read("opus-thinking") == NamedModel(model="haiku")
    assert made.read("gpt-5-thinking") == NamedModel(model="opus")


def test_suffix_of_a_mapped_name() -> None:
    made = catalogue(("gpt-4o", "haiku"))
    assert made.read("gpt-4o:thinking") == NamedModel(model="haiku", thinks=True)


# The operator's mappings.


def test_a_mapping_stands_for_a_model() -> None:
    assert catalogue(("gpt-4o", "opus")).resolve("gpt-4o") == "opus"


def test_a_mapping_is_found_in_any_case() -> None:
    assert catalogue(("GPT-4o", "opus")).resolve("gpt-4O") == "opus"


def test_the_target_of_a_mapping_is_looked_up() -> None:
    made = catalogue(("gpt-4o", "Claude-Opus-4.5"), ("gpt-*", "anthropic/claude-haiku"))
    assert (made.resolve("gpt-4o"), made.resolve("gpt-5")) == ("opus", "haiku")


def test_an_unknown_target_is_the_operators_business() -> None:
    made = catalogue(("gpt-4o", "My-Model"), ("o*", "My-Other"))
    assert (made.resolve("gpt-4o"), made.resolve("o3")) == ("My-Model", "My-Other")


def test_an_exact_mapping_wins_over_the_clis_own_name() -> None:
    assert catalogue(("opus", "haiku"), learned=True).resolve("opus") == "haiku"


def test_a_mapping_of_one_version_leaves_the_others() -> None:
    made = catalogue(("claude-opus-4-5", "haiku"))
    assert made.resolve("claude-opus-4-5") == "haiku"
    assert made.resolve("claude-opus-4-1") == "opus"


def test_the_clis_own_name_wins_over_a_pattern() -> None:
    assert catalogue(("*", "haiku")).resolve("claude-opus-4-5") == "opus"


def test_an_exact_mapping_wins_over_a_pattern_before_it() -> None:
    made = catalogue(("*", "haiku"), ("gpt-4o", "opus"))
    assert made.resolve("gpt-4o") == "opus"


def test_the_first_pattern_that_fits_wins() -> None:
    made = catalogue(("gpt-4*", "opus"), ("gpt-*", "sonnet"), ("*", "haiku"))
    assert [made.resolve(name) for name in ("gpt-4o", "gpt-5", "o3")] == [
        "opus",
        "sonnet",
        "haiku",
    ]


def test_no_name_is_the_default_whatever_the_patterns() -> None:
    assert catalogue(("*", "haiku")).resolve(None) == "sonnet"


# What does not wait for the CLI.


@pytest.mark.parametrize("name", [None, "", "default", "opus", " Haiku", "gpt-4o"])
def test_some_names_do_not_depend_on_the_cli(name: str | None) -> None:
    assert catalogue(("gpt-4o", "opus")).is_plain(name)


@pytest.mark.parametrize("name", ["claude-opus-5-5", "opusplan", "gpt-5"])
def test_other_names_depend_on_what_the_cli_tells(name: str) -> None:
    assert not catalogue(("gpt-*", "opus")).is_plain(name)


# What is listed.


def test_the_three_families_are_always_there() -> None:
    assert names(catalogue()) == ["haiku", "sonnet", "opus"]


def test_everything_that_may_be_asked_for_is_listed() -> None:
    made = catalogue(("gpt-4o", "opus"), ("*", "sonnet"), learned=True)
    told = names(made)
    assert {"haiku", "sonnet", "opus", "opusplan", "gpt-4o", *FULL_IDS} <= set(told)
    assert "default" not in told
    assert "*" not in told


def test_the_word_default_is_no_model_of_its_own() -> None:
    assert "default" not in names(catalogue(default="default", learned=True))


def test_entries_tell_since_when() -> None:
    assert {entry.since_seconds for entry in catalogue().entries()} == {1_700_000_000}


def test_an_empty_catalogue_of_the_cli_changes_nothing() -> None:
    made = catalogue(learned=True)
    before = names(made)
    made.learn([])
    assert names(made) == before


MODEL_NAMES = st.sampled_from(
    ["opus", "sonnet", "claude-opus-5-5", "gpt-4o", "default", "My-Model", "GPT-4o"]
) | st.text(min_size=1)
MAPS = st.lists(
    st.tuples(MODEL_NAMES | st.sampled_from(["*", "gpt-*"]), MODEL_NAMES)
).map(tuple)


@given(MODEL_NAMES, MAPS, st.booleans())
def test_nothing_is_listed_twice(
    default: str, model_map: tuple[tuple[str, str], ...], learned: bool
) -> None:
    told = names(catalogue(*model_map, default=default, learned=learned))
    assert len(told) == len(set(told))
    assert {"haiku", "sonnet", "opus"} <= set(told)


@pytest.mark.parametrize("learned", [False, True])
@pytest.mark.parametrize(
    "default", ["sonnet", "claude-opus-4-5", "My-Model", "arn:aws:bedrock:r:1:p/Mine"]
)
def test_whatever_is_listed_can_be_asked_for(default: str, learned: bool) -> None:
    made = catalogue(("gpt-4o", "My-Other"), default=default, learned=learned)
    for name in names(made):
        assert made.resolve(name)


@given(st.none() | st.text(), MAPS, st.booleans())
def test_any_name_is_a_model_or_not_found(
    name: str | None, model_map: tuple[tuple[str, str], ...], learned: bool
) -> None:
    made = catalogue(*model_map, learned=learned)
    found: str | ModelNotFound
    try:
        found = made.resolve(name)
    except ModelNotFound as error:
        found = error
    assert found.param == "model" if isinstance(found, ModelNotFound) else found


@pytest.mark.parametrize(
    "name",
    [
        "claude-opus-4-1-20250805",
        "claude-opus-4-5",
        "claude-3-5-haiku-20241022",
        "claude-3-5-haiku-latest",
    ],
)
def test_a_full_id_of_the_operators_is_that_model(name: str) -> None:
    assert Catalogue(name, (), 0).resolve(None) == name
    mapped = Catalogue("sonnet", (("gpt-4o", name), ("*", name)), 0)
    assert mapped.resolve("gpt-4o") == mapped.resolve("whatever") == name


@pytest.mark.parametrize("name", ["anthropic/claude-opus-4.5", "Claude_Opus", "OPUS"])
def test_another_name_of_the_operators_means_its_family(name: str) -> None:
    assert Catalogue(name, (), 0).resolve(None) == "opus"


def test_a_mapping_to_the_default_is_the_configured_one() -> None:
    catalogue = Catalogue("haiku", (("gpt-4o", "default"),), 0)
    assert catalogue.resolve("gpt-4o") == "haiku"


# Efforts


def fitted(wanted: str, *levels: str, supports: bool | None = True) -> str | None:
    made = Catalogue("sonnet", (), 0)
    about = ModelInfo(
        value="opus",
        resolved_model="claude-opus-5-5",
        supports_effort=supports,
        supported_effort_levels=list(levels),
    )
    made.learn((about,))
    assert made.effort("claude-opus-5-5", wanted) == made.effort("Opus", wanted)
    return made.effort("opus", wanted)


@pytest.mark.parametrize(
    ("wanted", "levels", "given_effort"),
    [
        ("medium", ("low", "medium", "high"), "medium"),
        ("max", ("low", "medium", "high"), "high"),
        ("xhigh", ("low", "high", "max"), "high"),
        ("low", ("high", "max"), "high"),
        # Older CLIs do not report efforts.
        ("max", (), "max"),
    ],
)
def test_effort_is_the_nearest_that_the_model_knows(
    wanted: str, levels: tuple[str, ...], given_effort: str
) -> None:
    assert fitted(wanted, *levels) == given_effort


def test_model_without_efforts_has_none() -> None:
    assert fitted("low", supports=False) is None


def test_what_is_not_known_of_a_model_changes_nothing() -> None:
    assert catalogue().effort("opus", "max") == "max"
    assert catalogue().full_id("opus") == "opus"


def test_full_id_of_an_alias() -> None:
    made = catalogue(learned=True)
    assert made.full_id("Opus") == "claude-opus-5-5"
    assert made.full_id("claude-opus-5-5") == "claude-opus-5-5"
    assert made.full_id("opusplan") == "opusplan"


def test_full_id_of_an_alias_that_is_listed_with_a_longer_context_only() -> None:
    """As CLI 2.1.251 does: the model's rules would not be known otherwise."""
    opus = ModelInfo("opus[1m]", resolved_model="claude-opus-5[1m]")
    made = catalogue()
    made.learn([opus])
    assert made.full_id("opus") == "claude-opus-5"
    assert made.full_id("opus[1m]") == "claude-opus-5[1m]"
    assert made.full_id("sonnet") == "sonnet"


# The operator's own.


@pytest.mark.parametrize(
    ("default", "model_map", "unlisted"),
    [
        ("sonnet", (), ()),
        ("OPUS", (), ()),
        ("default", (), ()),
        ("opusplan", (), ()),
        ("opusplan[1m]", (), ()),
        ("claude-opus-4-1-20250805", (), ()),
        ("claude-sonnet-4-5-20250929[1m]", (), ()),
        ("us.anthropic.claude-sonnet-4-5-20250929-v1:0", (), ()),
        ("nope", (), ("nope",)),
        ("nope", (("a", "nope"), ("*", "gpt-4"), ("b", "opus")), ("nope", "gpt-4")),
    ],
)
def test_models_that_the_cli_does_not_list(
    default: str, model_map: tuple[tuple[str, str], ...], unlisted: tuple[str, ...]
) -> None:
    made = catalogue(*model_map, default=default)
    assert list(made.unlisted()) == []
    made.learn(MODELS)
    assert list(made.unlisted()) == list(unlisted)


def test_models_of_the_cli_are_each_told_once() -> None:
    listed = catalogue(("a", "nope"), default="nope", learned=True).listed()
    assert set(listed) >= {"haiku", "opusplan", "claude-opus-5-5"}
    assert "nope" not in listed
    assert len(set(listed)) == len(listed)
