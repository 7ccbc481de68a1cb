"""The command line. Commands import what they need, so that --help is instant."""

import argparse
import dataclasses
import logging
import math
import sys
import typing
from pathlib import Path
from typing import Any

from policy_gradients.cli_deploy import add_deploy_parsers, add_server_options, evaluate_served
from policy_gradients.cli_studies import add_ablate_parser
from policy_gradients.errors import guarded

MARK = {True: "✓", False: "✗"}


def main(arguments: list[str] | None = None) -> int:
    """Run one command; 0 on success, 2 on bad input (one line says what and what to do), 1 on a bug, 128 and the
    signal's number when stopped."""
    given = sys.argv[1:] if arguments is None else arguments
    return guarded(lambda: _run(given), debug="--debug" in given)


def _run(given: list[str]) -> int:
    logging.basicConfig(level=logging.WARNING, format="%(levelname)s: %(message)s")
    for argument in given:
        if any("\ud800" <= c <= "\udfff" for c in argument):
            raise ValueError(f"the argument {argument!r} is not text in this system's encoding")
    parsed = _parser().parse_args(given)
    return parsed.run(parsed)


class _Parser(argparse.ArgumentParser):
    """Its errors are one line, as all others."""

    def error(self, message: str) -> typing.NoReturn:
        raise ValueError(f"{message}; see {self.prog} --help")

    def _print_message(self, message: str, file: Any = None) -> None:
        if message:
            (file or sys.stderr).write(message)  # argparse would pass over a disk that is full
            (file or sys.stderr).flush()


def _parser() -> argparse.ArgumentParser:
    parser = _Parser(
        prog="policy-gradients", description="Steer a language model with a 0/1 checker: GRPO, evaluated honestly."
    )
    commands = parser.add_subparsers(required=True, metavar="command")
    _train_parser(commands)
    _evaluate_parser(commands)
    _sample_parser(commands)
    _benchmark_parser(commands)
    _pretrain_parser(commands)
    add_ablate_parser(commands)
    add_deploy_parsers(commands)
    for each in (parser, *commands.choices.values()):
        each.add_argument(
            "--debug", action="store_true", default=argparse.SUPPRESS, help="show where an error came from"
        )
    return parser


def _train_parser(commands: Any) -> None:
    from policy_gradients.training.presets import PRESETS

    train = commands.add_parser("train", help="train a policy on a task")
    train.add_argument(
        "--preset", default="tiny", help=f"model tier and its settings: {', '.join(PRESETS)} (default: tiny)"
    )
    train.add_argument(
        "--output-dir", type=Path, required=True, help="a new folder for config, metrics, checkpoints, model"
    )
    train.add_argument("--resume", action="store_true", help="go on from the last checkpoint in --output-dir, exactly")
    train.add_argument(
        "--allow-changed-task",
        action="store_true",
        help="resume although rows, template or reward have changed; logged",
    )
    train.add_argument("--no-progress", action="store_true", help="no progress bar")
    train.add_argument(
        "--fresh-process",
        action=argparse.BooleanOptionalAction,
        default=True,
        help="load the written model in a process of its own, as anybody would, and compare; with --no-fresh-process "
        "in this one, some seconds sooner",
    )
    _add_task_options(train)
    _add_train_settings(train)
    train.set_defaults(run=_train)


def _add_task_options(parser: argparse.ArgumentParser) -> None:
    """A task of one's own, instead of a rule."""
    own = parser.add_argument_group("a task of your own (instead of a rule)")
    own.add_argument("--task", dest="task_file", metavar="FILE.py", help="a file that defines `task` (RewardTask)")
    own.add_argument("--dataset", metavar="FILE", help="rows: JSON lines, CSV, Parquet, a saved folder, or a hub id")
    own.add_argument("--heldout-dataset", metavar="FILE", help="rows for evaluate [one in ten of --dataset]")
    own.add_argument(
        "--instruction", metavar="TEMPLATE", help="prompt over a row's columns, such as 'Solve {question}'"
    )
    own.add_argument(
        "--reward-function",
        dest="reward_functions",
        action="append",
        metavar="FILE.py:NAME",
        help="your reward, (prompts, completions, **columns) → a number each, as for TRL; several times: their sum",
    )
    own.add_argument(
        "--reward-weight", dest="reward_weights", action="append", type=float, metavar="W", help="of each, in order [1]"
    )
    own.add_argument(
        "--pass-at", type=float, metavar="R", help="a completion passes, in reports, from this reward on [1]"
    )


_OWN = ("task_file", "dataset", "heldout_dataset", "instruction", "reward_functions", "reward_weights", "pass_at")


def _add_train_settings(parser: argparse.ArgumentParser) -> None:
    """One option for each setting, in groups, with its docstring as help."""
    from policy_gradients.training import config

    groups = {
        "what is trained on": ("model", "seed", "num_prompts", "num_generations", "max_prompt_tokens",
                               "max_new_tokens", "temperature", "max_steps", "stop_above"),
        "the rule": _names(config.RuleTask),
        "its curriculum": ("curriculum", *_names(config.Curriculum)),
        "credit": ("credit", "critic", "updates_per_batch", "aggregation"),
        "credit completion: groups": _names(config.ByGroup),
        "credit completion: a critic": [n for n in _names(config.ByCritic) if n != "critic"],
        "credit state": [n for n in _names(config.ByState) if n != "updates_per_batch"],
        "several updates a batch": [n for n in _names(config.Clip) if n != "updates_per_batch"],
        "divergence from the reference": (*_names(config.KlPenalty), "projection_weight", "prompt_kl_weight"),
        "entropy": ("entropy_schedule", *_names(config.TargetEntropy)),
        "optimiser": ("learning_rate", "final_learning_rate", "warmup_steps", "weight_decay", "adam_beta2",
                      "max_grad_norm", "frozen_layers", "lora_rank"),
        "machine and folder": ("precision", "micro_batch_prompts", "gradient_checkpointing", "sharded", "save_every",
                               "keep_checkpoints"),
    }  # fmt: skip
    settings = config.flat_settings()
    for title, names in groups.items():
        group = parser.add_argument_group(f"{title} (default: the preset's)")
        for name in names:
            _add_setting(group, name, *settings[name])


def _names(record: type) -> list[str]:
    """The fields of a record that are settings, not records themselves."""
    return [field.name for field in dataclasses.fields(record) if field.name not in ("curriculum", "clip")]


def _add_setting(group: Any, name: str, kind: Any, default: Any, text: str) -> None:
    text = f"{text} [{default}]" if default is not dataclasses.MISSING else text
    if kind is bool:
        parser_action: dict[str, Any] = {"action": argparse.BooleanOptionalAction}
    elif typing.get_origin(kind) is typing.Literal:
        parser_action = {"choices": typing.get_args(kind)}
    else:
        parser_action = {"type": kind if kind in (int, float) else str, "metavar": name.upper()}
    group.add_argument("--" + name.replace("_", "-"), default=None, help=text.replace("%", "%%"), **parser_action)


def _train(parsed: argparse.Namespace) -> int:
    from policy_gradients.course.figures import save, training_curves
    from policy_gradients.training.config import flat_settings
    from policy_gradients.training.loop import train
    from policy_gradients.training.presets import own_preset, preset
    from policy_gradients.training.run_folder import METRICS, read_metrics

    chosen = _chosen(parsed, [*flat_settings(), *_OWN])
    if instead := own_preset(parsed.preset, chosen):
        print(f"a task of your own: the settings of {instead} (credit by completion), not of {parsed.preset}",
              file=sys.stderr)  # fmt: skip
    config = preset(parsed.preset, **chosen)
    folder = train(
        config, parsed.output_dir, parsed.resume, progress=not parsed.no_progress,
        allow_changed_task=parsed.allow_changed_task, fresh_process=parsed.fresh_process,
    )  # fmt: skip
    grouped = config.credit.kind != "state"
    save(training_curves(read_metrics(folder / METRICS), grouped), folder / "training.png")
    print(f"run written to {folder}")
    return 0


def _chosen(parsed: argparse.Namespace, names: typing.Iterable[str]) -> dict[str, Any]:
    """The settings that the command line sets."""
    return {name: value for name in names if (value := getattr(parsed, name, None)) is not None}


def _add_settings(parser: argparse.ArgumentParser, record: type, title: str) -> None:
    """One option for each field of a record of settings, with its docstring as help."""
    from policy_gradients.training.config import field_help

    group, hints = parser.add_argument_group(title), typing.get_type_hints(record)
    for field in dataclasses.fields(record):
        _add_setting(group, field.name, hints[field.name], field.default, field_help(field.name, record))


def _evaluate_parser(commands: Any) -> None:
    evaluate = commands.add_parser("evaluate", help="before and after on held-out prompts, with intervals")
    evaluate.add_argument("directory", type=Path, help="what train wrote")
    evaluate.add_argument("--num-prompts", type=int, default=100, help="held-out prompts [100]")
    evaluate.add_argument("--seed", type=int, default=1, help="of the prompts and the samples [1]")
    evaluate.add_argument(
        "--skip-prompts", type=int, default=0,
        help="leave out the seed's first: those that settings were chosen by, say [0]",
    )  # fmt: skip
    evaluate.add_argument("--reference-samples", type=int, default=4000, help="to estimate the KL floor [4000]")
    evaluate.add_argument("--perplexity-texts", type=int, help="how many held-out articles the perplexity is of [all]")
    evaluate.add_argument("--precision", choices=("no", "bf16", "fp16"), default="no", help="of the products [no]")
    evaluate.add_argument("--rule", help="evaluate another rule than the run's, such as 'length=50&digits%%3=0'")
    evaluate.add_argument("--json", type=Path, metavar="FILE", help="write the whole report")
    _add_task_options(evaluate)
    add_server_options(evaluate)
    evaluate.set_defaults(run=_evaluate)


def _evaluate(parsed: argparse.Namespace) -> int:
    if parsed.server:
        return evaluate_served(parsed)
    from policy_gradients.course.figures import before_after, save
    from policy_gradients.evaluation.deliver import check_file, deliver, takes_files
    from policy_gradients.evaluation.evaluate import evaluate_run, without_nan, write_card, write_report
    from policy_gradients.training.config import load_config
    from policy_gradients.training.run_folder import CONFIG

    def progress(message: str) -> None:
        print(f"… {message}", file=sys.stderr)

    load_config(parsed.directory / CONFIG)  # what is no run is not written to
    check_file(parsed.json)
    home = takes_files(parsed.directory)
    report = evaluate_run(
        parsed.directory, parsed.num_prompts, parsed.seed, parsed.reference_samples, parsed.rule, progress,
        parsed.perplexity_texts, parsed.precision, _own_task(parsed), parsed.skip_prompts,
    )  # fmt: skip
    parts: dict[str, Any] = {"standard output": lambda: print(_report_text(report), flush=True)}
    if parsed.json:
        parts[str(parsed.json)] = lambda: write_report(report, parsed.json)
    if home:
        parts["model card"] = lambda: write_card(parsed.directory, report)
        parts["figure"] = lambda: save(before_after(report), parsed.directory / "before_after.png")
    deliver(parts, without_nan(report))
    return 0


def _own_task(parsed: argparse.Namespace) -> Any:
    """The task that the command line describes, where the run's own files have moved; None: the run's own."""
    if not (chosen := _chosen(parsed, _OWN)):
        return None
    from policy_gradients.training.config import make_config
    from policy_gradients.training.sources import make_task, resolve

    return make_task(resolve(make_config(**chosen)))


def _report_text(report: dict[str, Any]) -> str:
    """The table before/after and five completions of each, every check marked."""
    before, after = report["reference"], report["tuned"]
    n = report["num_prompts"]
    rows = [("strict pass rate", _rate(before), _rate(after))]
    rows += [
        (f"  {name} rate", f"{before[key]:.0%}", f"{after[key]:.0%}")
        for name, key in (("length", "length_rate"), ("digit", "digit_rate"), ("finished", "finished_rate"))
        if math.isfinite(before.get(key, math.nan))  # NaN: the rule has no such part
    ]
    rows += [
        (name, f"{before[key]:{spec}}", f"{after[key]:{spec}}")
        for name, key, spec in (
            (f"distinct completions of {n}", "distinct_completions", "d"),
            ("distinct trigrams", "distinct_trigrams", ".0%"),
            ("commonest shape of a text", "largest_shape_share", ".0%"),
            ("mean reward", "mean_reward", ".2f"),
            ("entropy, nats a token", "entropy", ".2f"),
            ("KL to reference, nats a completion", "kl_to_reference", ".1f"),
            ("reference NLL a token", "reference_nll_per_token", ".2f"),
            ("held-out perplexity", "heldout_perplexity", ".1f"),
        )
    ]
    low, high = report["reference_pass_rate_interval"]
    if report["kl_over_floor_interval"] is None:  # bounds, by the largest p that is compatible with no pass at all
        least, most, interval = "at least ", "at most", ""
    else:
        ratio_low, ratio_high = report["kl_over_floor_interval"]
        least, most, interval = "", "at", f" [{ratio_low:.1f}, {ratio_high:.1f}]"
    ratio = f"the tuned policy is {most} {report['kl_over_floor']:.1f} times the floor{interval}"
    if not report["kl_floor"]:
        ratio = "the tuned policy passes no more often, which need not cost any"
    lines = [
        f"{report['task']}, {n} held-out prompts, seed {report['seed']}",
        f"prompts from {report['prompts']}",
        *([f"weights of the reference from {report['weights_from']}"] if report["weights_from"] else []),
        f"{'':36}{'before':>18}{'after':>18}",
    ]
    lines += [f"{name:36}{b:>18}{a:>18}" for name, b, a in rows]
    lines += [
        f"the reference passes with p = {report['reference_pass_rate']:.4f} [{low:.4f}, {high:.4f}]: KL floor "
        f"{least}{report['kl_floor']:.1f} nats, {ratio}",
        f"held-out perplexity {report['perplexity_increase']:+.1%}",
    ]
    if not report["reference_pass_rate"]:
        estimate = report["reference_pass_rate_by_importance"]
        lines.append(f"p by the tuned policy's own samples, reweighted, as a rule too low: {estimate:.1e}")
    for side in ("before", "after"):
        lines.append(f"\n{side}:")
        lines += [_marked_line(row[side]) for row in report["completions"][:5]]
    return "\n".join(lines)


def _rate(side: dict[str, Any]) -> str:
    low, high = side["pass_rate_interval"]
    return f"{side['pass_rate']:.0%} [{low:.0%}, {high:.0%}]"


def _marked_line(completion: dict[str, Any]) -> str:
    checks = " ".join(f"{MARK[ok]}{name}" for name, ok in completion["checks"].items())
    return f"  {MARK[completion['passed']]} {completion['characters']:3d} {completion['text']!r}  {checks}"


def _sample_parser(commands: Any) -> None:
    sample = commands.add_parser("sample", help="completions of one prompt, every check marked")
    sample.add_argument("directory", type=Path, help="what train wrote")
    sample.add_argument("--prompt", required=True, help="the text to continue; the instruction is added")
    sample.add_argument("--n", type=int, default=8, help="how many [8]")
    sample.add_argument("--seed", type=int, default=0, help="of the samples [0]")
    sample.set_defaults(run=_sample)


def _sample(parsed: argparse.Namespace) -> int:
    from policy_gradients.evaluation.evaluate import sample_run

    for completion in sample_run(parsed.directory, parsed.prompt, parsed.n, parsed.seed):
        print(_marked_line(completion))
    return 0


def _benchmark_parser(commands: Any) -> None:
    from policy_gradients.training.benchmark import Work

    command = commands.add_parser("benchmark", help="seconds and memory of a step, beside TRL and the bare model")
    command.add_argument("--rounds", type=int, default=3, help="measurements of each side, in alternation [3]")
    command.add_argument(
        "--sides", nargs="+", default=["ours", "floor", "trl"], metavar="SIDE", help="[ours floor trl]"
    )
    command.add_argument(
        "--sweep", metavar="SETTING=A,B,…", help="the same for several values, such as num_generations=4,8,16"
    )
    command.add_argument("--json", type=Path, metavar="FILE", help="write every measurement")
    command.add_argument(
        "--budget",
        metavar="PRESET",
        help="instead: memory of one step of a preset, such as qwen, part by part, measured on the CPU with random "
        "weights, and what that needs of a T4; the settings of the work below replace the preset's",
    )
    _add_settings(command, Work, "the work")
    command.set_defaults(run=_benchmark)


def _budget(parsed: argparse.Namespace) -> int:
    from policy_gradients.evaluation.deliver import check_file, write_json
    from policy_gradients.training.benchmark import Work
    from policy_gradients.training.budget import architecture, budget_table, measure_budget
    from policy_gradients.training.config import flat_settings, to_json
    from policy_gradients.training.presets import preset

    check_file(parsed.json)
    chosen = _chosen(parsed, [field.name for field in dataclasses.fields(Work)])
    if "prompt_tokens" in chosen:
        chosen["max_prompt_tokens"] = chosen["prompt_tokens"]
    known = flat_settings()
    config = preset(parsed.budget, **{name: value for name, value in chosen.items() if name in known})
    budget = measure_budget(config, architecture(config.model))
    print(budget_table(budget, config))
    if parsed.json:
        report = {"config": to_json(config), **dataclasses.asdict(budget), "peak": budget.peak}
        write_json(report, parsed.json)
    return 0


def _benchmark(parsed: argparse.Namespace) -> int:
    if parsed.budget:
        return _budget(parsed)
    from policy_gradients.evaluation.deliver import check_file, write_json
    from policy_gradients.training.benchmark import Work, benchmark, table, trl_is_installed

    works = _sweep(Work(**_chosen(parsed, [field.name for field in dataclasses.fields(Work)])), parsed.sweep)
    sides = list(dict.fromkeys(parsed.sides))
    if "trl" in sides and not trl_is_installed():
        sides.remove("trl")
        print("TRL is not installed, so nothing is compared with it; `pip install trl` adds it", file=sys.stderr)

    def progress(message: str) -> None:
        print(f"… {message}", file=sys.stderr)

    rows: list[dict[str, Any]] = []
    check_file(parsed.json)
    for work in (work.on_this_machine() for work in works):
        rows.append({"work": dataclasses.asdict(work), "measured": {}})

        def keep(found: dict[str, list[Any]]) -> None:
            if parsed.json:
                rows[-1]["measured"] = {side: [dataclasses.asdict(m) for m in each] for side, each in found.items()}
                write_json(rows, parsed.json)

        try:
            found = benchmark(work, sides, parsed.rounds, progress=progress, keep=keep)
        except RuntimeError as error:
            raise ValueError(str(error)) from None
        print(table(work, found), flush=True)
    return 0


def _sweep(work: Any, spec: str | None) -> list[Any]:
    """The work once for each value that `spec` gives one of its settings."""
    if spec is None:
        return [work]
    name, _, values = spec.partition("=")
    if name not in [field.name for field in dataclasses.fields(work) if field.type is int]:
        raise ValueError(f"--sweep {spec!r}: {name!r} is no whole-number setting; write it as num_generations=4,8,16")
    try:
        return [dataclasses.replace(work, **{name: int(value)}) for value in values.split(",")]
    except ValueError as error:
        raise ValueError(f"--sweep {spec!r}: {error}") from None


def _pretrain_parser(commands: Any) -> None:
    pretrain = commands.add_parser("pretrain", help="make the tiny model again, from the shipped text")
    pretrain.add_argument("--output-dir", type=Path, required=True, help="a new folder for model, tokenizer, log")
    pretrain.add_argument(
        "--start-from", type=Path, metavar="DIR", help="the second, short stage: go on from what the first wrote to DIR"
    )
    pretrain.add_argument("--steps", type=int, help="optimiser steps [3600; 240 in the second stage]")
    pretrain.add_argument("--seed", type=int, help="of weights and data order [0; 1]")
    pretrain.set_defaults(run=_pretrain)


def _pretrain(parsed: argparse.Namespace) -> int:
    from policy_gradients.training.pretrain import SECOND_STAGE, PretrainConfig, pretrain

    chosen = {name: getattr(parsed, name) for name in ("steps", "seed") if getattr(parsed, name) is not None}
    stage = PretrainConfig() if parsed.start_from is None else SECOND_STAGE
    pretrain(dataclasses.replace(stage, **chosen), parsed.output_dir, parsed.start_from)
    return 0
