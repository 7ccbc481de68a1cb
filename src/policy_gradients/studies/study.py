"""A study as it is declared: what is asked, what differs between its arms, and what would settle it."""

import dataclasses
import itertools
import math
import re
import typing
import unicodedata
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import yaml

from policy_gradients.language.files import read_text
from policy_gradients.training.config import TrainConfig
from policy_gradients.training.presets import PRESETS, preset

SHIPPED = Path(__file__).with_name("data")
LARGEST = 10**5  # bytes of a declaration
LONGEST_NAME = 255  # bytes of a folder's name, as most file systems have it
DEVICES = re.compile(r"con|prn|aux|nul|conin\$|conout\$|(com|lpt)[0-9¹²³]")  # names that Windows keeps
COUNTS = {"num_prompts": 1, "skip_prompts": 0, "reference_samples": 1, "perplexity_texts": 1}  # the least of each

Metric = Literal[
    "mean_strict_rate", "steps_to_half", "reward_variance", "last_entropy", "mean_length", "pass_rate",
    "distinct_share", "kl", "perplexity_increase",
]  # fmt: skip
HIGHER_IS_BETTER: dict[str, bool] = {
    "mean_strict_rate": True,
    "steps_to_half": False,
    "reward_variance": False,
    "last_entropy": True,
    "mean_length": False,
    "pass_rate": True,
    "distinct_share": True,
    "kl": False,
    "perplexity_increase": False,
}
METRICS: dict[str, str] = {
    "mean_strict_rate": "strict pass rate, mean over all steps (the area under its curve)",
    "steps_to_half": "first step at which the mean of five strict rates is a half; never counts as one step more than "
    "there are",
    "reward_variance": "variance of the training reward among the completions of a prompt, mean of the last ten steps",
    "last_entropy": "entropy in nats a token, mean of the last ten steps",
    "mean_length": "characters a completion, mean of the last ten steps",
    "pass_rate": "strict pass rate on held-out prompts, at the end",
    "distinct_share": "distinct completions on held-out prompts, as a share",
    "kl": "divergence from the reference in nats a completion, at the end",
    "perplexity_increase": "of ordinary held-out text, at the end, as a share",
}


class _Loader(yaml.SafeLoader):
    """Numbers as people write them, and each key once.

    YAML 1.1, which PyYAML reads, takes 1e-4 for text, 010 for 8 and 1:30 for 90. Here 1e-4 is the number that it is in
    YAML 1.2, and the others are text, which no setting that wants a number takes.
    """

    def compose_mapping_node(self, anchor: str | None) -> yaml.MappingNode:
        """The table; of a key that is there twice, PyYAML would keep the last one."""
        node = super().compose_mapping_node(anchor)
        seen = set()
        for key, _ in node.value:
            name = (key.tag, key.value) if isinstance(key, yaml.ScalarNode) else None
            if name is not None and name in seen:
                raise yaml.composer.ComposerError(None, None, f"the key {key.value!r} is there twice", key.start_mark)
            seen.add(name)
        return node


_INT, _FLOAT = "tag:yaml.org,2002:int", "tag:yaml.org,2002:float"
_Loader.yaml_implicit_resolvers = {
    first: [(tag, pattern) for tag, pattern in resolvers if tag not in (_INT, _FLOAT)]
    for first, resolvers in yaml.SafeLoader.yaml_implicit_resolvers.items()
}
_Loader.add_implicit_resolver(_INT, re.compile(r"[-+]?(0|[1-9][0-9]*)\Z"), list("-+0123456789"))
_Loader.add_implicit_resolver(
    _FLOAT,
    re.compile(
        r"[-+]?(([0-9]+\.[0-9]*|\.[0-9]+)([eE][-+]?[0-9]+)?|[0-9]+[eE][-+]?[0-9]+|\.(inf|Inf|INF))\Z"
        r"|\.(nan|NaN|NAN)\Z"
    ),
    list("-+0123456789."),
)


@dataclass(frozen=True)
class Hypothesis:
    """One arm is better than another by one metric."""

    arm: str
    against: str
    metric: Metric
    smallest: float
    """The smallest difference that would matter to anybody, in units of the metric: an interval that lies within it on
    both sides says that there is none."""

    def __str__(self) -> str:
        return f"{self.arm} better than {self.against} in {self.metric}"


@dataclass(frozen=True)
class Study:
    """What is asked, and the runs and the rule that answer it, written before they are run."""

    name: str
    question: str
    decision: str
    """The rule in words: what has to come out for which verdict."""
    preset: str
    arms: Mapping[str, Mapping[str, Any]]
    """Each arm by its name, with the settings in which it differs from the others."""
    hypotheses: tuple[Hypothesis, ...]
    settings: Mapping[str, Any] = field(default_factory=dict)
    """What all arms share and the preset does not say."""
    seeds: tuple[int, ...] = tuple(range(10))
    num_prompts: int = 100
    """Held-out prompts of each run's evaluation; each seed draws others."""
    skip_prompts: int = 100
    """So many of that draw are left out before them (`evaluate --skip-prompts`)."""
    reference_samples: int = 1000
    """For the chance of the reference to pass; each seed draws others."""
    perplexity_texts: int = 50

    @property
    def evaluation(self) -> dict[str, int]:
        """How the policy of each run is evaluated, the same for all arms."""
        return {name: getattr(self, name) for name in COUNTS}

    def config(self, arm: str, seed: int) -> TrainConfig:
        """The settings of one run.

        Raises:
            ValueError: unknown arm; as `preset`.
        """
        if arm not in self.arms:
            raise ValueError(f"unknown arm {arm!r} of the study {self.name}; known are {', '.join(self.arms)}")
        return preset(self.preset, **{**self.settings, **self.arms[arm], "seed": seed})


def shipped_studies() -> list[str]:
    """Names of the studies that the package brings."""
    return sorted(path.stem for path in SHIPPED.glob("*.yaml"))


def load_study(name: str) -> Study:
    """The study of that name, or of a YAML file of one's own.

    Raises:
        ValueError: neither is there, or what is declared cannot be run: unknown names, a key that is there twice,
            settings out of range, an arm that differs in nothing or cannot be a folder, a hypothesis about arms that
            there are not.
        OSError: the file cannot be read.
    """
    path = SHIPPED / f"{name}.yaml" if name in shipped_studies() else Path(name)
    try:
        text = read_text(path, LARGEST)
    except FileNotFoundError:
        raise ValueError(f"there is no study {name!r}; known are {', '.join(shipped_studies())}, or a file") from None
    try:
        found = yaml.load(text, _Loader)
    # PyYAML lets through whatever a value raises that its tag does not fit, such as a date that there is not
    except (yaml.YAMLError, RecursionError, ValueError, LookupError, AttributeError, TypeError) as error:
        raise ValueError(f"{path} is no YAML: {' '.join(str(error).split())}") from None
    try:
        return _study(path.stem, found)
    except (TypeError, ValueError) as error:
        raise ValueError(f"{path} declares no study that could be run: {error}") from None


def parse_seeds(text: str) -> tuple[int, ...]:
    """'0-9', '3' or '0,2,5-7' as numbers, in order, each once.

    Raises:
        ValueError: anything else, or none.
    """
    seeds: set[int] = set()
    for part in text.split(","):
        if not (match := re.fullmatch(r"\s*([0-9]{1,9})(?:-([0-9]{1,9}))?\s*", part)):
            raise ValueError(f"seeds are whole numbers, such as 0-9 or 0,2,5-7; got {text!r}")
        first, last = int(match[1]), int(match[2] or match[1])
        if not 0 <= last - first <= 10_000:
            raise ValueError(f"the seeds {part.strip()} are none, or too many")
        seeds |= set(range(first, last + 1))
    return tuple(sorted(seeds))


def _study(name: str, found: Any) -> Study:
    _require_keys("a study", found, Study, given={"name"})
    if found["preset"] not in PRESETS:
        raise ValueError(f"unknown preset {found['preset']!r}; known are {', '.join(PRESETS)}")
    if not isinstance(found["hypotheses"], list) or not found["hypotheses"]:
        raise ValueError("hypotheses must be a list of at least one")
    for each in found["hypotheses"]:
        _require_keys("a hypothesis", each, Hypothesis)
    for part in ("question", "decision"):
        if not isinstance(found[part], str) or not found[part].strip():
            raise ValueError(f"{part} must be a sentence, written before the runs; got {found[part]!r}")
    for part, least in COUNTS.items():
        if part in found and (type(found[part]) is not int or found[part] < least):
            raise ValueError(f"{part} must be a whole number of at least {least}, got {found[part]!r}")
    seeds = {"seeds": parse_seeds(str(found["seeds"]))} if "seeds" in found else {}
    hypotheses = tuple(Hypothesis(**each) for each in found["hypotheses"])
    study = Study(**{**found, **seeds, "name": name, "hypotheses": hypotheses})
    for part in ("arms", "settings"):
        if not isinstance(getattr(study, part), dict):
            raise ValueError(f"{part} must be a table of names, got {getattr(study, part)!r}")
    if len(study.arms) < 2:
        raise ValueError(f"a study needs two arms to compare, got {', '.join(map(str, study.arms)) or 'none'}")
    require_folders(study)
    configs = {}
    for arm, settings in study.arms.items():
        if not isinstance(settings, dict) or "seed" in {**study.settings, **settings}:
            raise ValueError(f"the arm {arm} must be a table of settings without a seed, got {settings!r}")
        try:
            configs[arm] = study.config(arm, study.seeds[0])
        except ValueError as error:
            raise ValueError(f"the arm {arm}: {error}") from None
    for one, other in itertools.combinations(configs, 2):
        if configs[one] == configs[other]:
            raise ValueError(f"the arms {one} and {other} differ in nothing: their settings come to the same")
    for each in hypotheses:
        _require_known(each, study)
        if hypotheses.count(each) > 1:
            raise ValueError(f"the hypothesis {each} is declared twice")
    return study


def require_folders(study: Study) -> None:
    """Raise ValueError unless each arm has a folder of its own under its name, on any usual file system."""
    taken = {_name_on_disk(f"{study.name}.png"): "the study's figure"}
    for arm in study.arms:
        if why := _no_folder(arm):
            raise ValueError(f"the name of an arm becomes that of a folder, and {arm!r} cannot be one: {why}")
        if (name := _name_on_disk(arm)) in taken:
            raise ValueError(
                f"the name of an arm becomes that of a folder, and {arm!r} cannot be one beside {taken[name]}, which "
                "has the same name on some file systems"
            )
        taken[name] = f"the arm {arm!r}"


def _no_folder(name: Any) -> str:
    """Why a name cannot be that of a folder, on Windows either; empty if it can."""
    if not isinstance(name, str) or not name:
        return "it is no text"
    if any(c in '/\\:*?"<>|' or unicodedata.category(c) in ("Cc", "Cs") for c in name):
        return 'it holds a control character, half of a character, or one of / \\ : * ? " < > |'
    if len(name.encode()) > LONGEST_NAME:
        return f"it has more than {LONGEST_NAME} bytes"
    if name[-1] in " ." or not name.strip():
        return "it ends with a space or a dot"
    device = DEVICES.fullmatch(name.partition(".")[0].strip().lower())
    return "Windows keeps that name for a device" if device else ""


def _name_on_disk(name: str) -> str:
    """One spelling of all that a file system may take for the same name."""
    return unicodedata.normalize("NFC", unicodedata.normalize("NFC", name).casefold())


def _require_known(hypothesis: Hypothesis, study: Study) -> None:
    for arm in (hypothesis.arm, hypothesis.against):
        if arm not in study.arms:
            raise ValueError(f"a hypothesis speaks of the arm {arm!r}; known are {', '.join(study.arms)}")
    if hypothesis.metric not in typing.get_args(Metric):
        raise ValueError(f"unknown metric {hypothesis.metric!r}; known are {', '.join(METRICS)}")
    smallest = hypothesis.smallest
    if isinstance(smallest, bool) or not isinstance(smallest, int | float) or not 0 < smallest < math.inf:
        raise ValueError(f"smallest must be above 0, the least difference that matters; got {smallest!r}")
    if hypothesis.arm == hypothesis.against:
        raise ValueError(f"a hypothesis compares {hypothesis.arm!r} with itself")


def _require_keys(what: str, found: Any, record: type, given: frozenset[str] | set[str] = frozenset()) -> None:
    fields = {each.name: each for each in dataclasses.fields(record) if each.name not in given}
    if not isinstance(found, dict):
        raise ValueError(f"{what} must be a table of {', '.join(fields)}, got {found!r}")
    if unknown := [str(key) for key in found if key not in fields]:
        raise ValueError(f"{what} has no {', '.join(unknown)}; known are {', '.join(fields)}")
    needed = {
        name
        for name, each in fields.items()
        if each.default is dataclasses.MISSING and each.default_factory is dataclasses.MISSING
    }
    if missing := sorted(needed - found.keys()):
        raise ValueError(f"{what} needs {', '.join(missing)}")
