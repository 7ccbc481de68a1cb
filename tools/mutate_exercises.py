"""Break right answers in every small way, and let the checks judge: how many of the broken ones are caught?

python tools/mutate_exercises.py [NAME …]

Every right answer, the declared one and those of the tests, is changed in one place: an operator, a comparison, an
axis, a sign, a number by one, an index, a keyword left out, `std` for `var`, `max` for `min`, a `detach` dropped; and
the value of the reference is changed as a whole (nan_to_num, clamp, another sign, a detach, a shift along each axis). A
changed answer that a check accepts has survived. Some of these are no mistakes: they compute the same another way, on
every input that an exercise can mean. `SAME` names those, each with its reason; what is left is a hole in an exercise.
The exit status is 1 if fewer than 95 % of the mistakes are caught.
"""

import argparse
import ast
import copy
import math
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import torch

from policy_gradients.course.display import Table
from policy_gradients.course.exercises.declare import Exercise, all_exercises
from policy_gradients.course.exercises.grade import grade

ANSWERS = Path(__file__).parents[1] / "tests" / "course" / "exercises" / "right_answers.py"
TARGET = 0.95
OPERATORS = {
    ast.Add: [ast.Sub],
    ast.Sub: [ast.Add],
    ast.Mult: [ast.Div],
    ast.Div: [ast.Mult],
    ast.Pow: [ast.Mult],
    ast.MatMult: [],
    ast.FloorDiv: [ast.Mult],
    ast.Mod: [ast.FloorDiv],
    ast.BitAnd: [ast.BitOr],
    ast.BitOr: [ast.BitAnd],
}
COMPARISONS = {
    ast.Lt: [ast.LtE, ast.Gt],
    ast.LtE: [ast.Lt, ast.Gt],
    ast.Gt: [ast.GtE, ast.Lt],
    ast.GtE: [ast.Gt, ast.Lt],
    ast.Eq: [ast.NotEq],
    ast.NotEq: [ast.Eq],
    ast.In: [ast.NotIn],
}
NAMES = {  # a function or method for another of the same form
    "mean": ["sum"],
    "sum": ["mean"],
    "std": ["var"],
    "var": ["std"],
    "exp": ["log"],
    "log": ["exp"],
    "log_softmax": ["softmax"],
    "softmax": ["log_softmax"],
    "max": ["min"],
    "min": ["max"],
    "maximum": ["minimum"],
    "minimum": ["maximum"],
    "cumsum": ["cumprod"],
    "cumprod": ["cumsum"],
    "all": ["any"],
    "any": ["all"],
    "square": ["abs"],
    "argmax": ["argmin"],
    "zeros_like": ["ones_like"],
    "ones_like": ["zeros_like"],
}
COMMUTES = {"dot", "einsum", "max", "maximum", "min", "minimum", "zip"}  # in two arguments
AXES = {"all", "any", "argmax", "cumprod", "cumsum", "gather", "log_softmax", "logsumexp", "mean", "softmax", "squeeze",
        "std", "sum", "unsqueeze", "var"}  # fmt: skip
SILENT = {"dtype", "strict", "driver", "rtol"}  # keywords that change no right answer's value
DROPPED = {"detach", "exp", "log", "sqrt", "square", "abs", "clamp", "cumsum", "flip", "softmax", "log_softmax"}

POSITIVE = [
    "prefix_weights",
    "effective_samples",
    "silent_share",
    "full_entropy",
    "exact_kl",
    "sequence_weights",
    "end_mask",
    "to_go",
    "draw",
    "bonus_weight",
    "wilson",
    "floor",
    "p_value",
    "token_positions",
    "sampled_fisher",
]

# Survivors that compute the same, by exercise and changed line, with the reason.
FINITE = "finite for all finite inputs"
NEVER_NEGATIVE = "never negative"
OVERWRITTEN = "a value that is replaced or masked afterwards"
CENTRED = "orthogonal to a constant: one factor is centred already"
SAME: dict[tuple[str, str], str] = {
    ("any", "the reference, nan_to_num"): FINITE,  # exact_kl is not, and its mutant is caught
    **{(name, f"the reference, {how}"): NEVER_NEGATIVE for name in POSITIVE for how in ("clamp(min=0)", "abs")},
    ("token_log_probs", "the reference, clamp(max=1)"): "a log-prob is at most 0",
    ("scored_log_probs", "the reference, clamp(max=1)"): "a log-prob is at most 0",
    ("any", "the reference, another dtype"): "a number of Python has one dtype",
    ("softmax_score", "F.softmax(theta)"): "one dimension",
    ("softmax_score", "-1"): "one dimension, counted from the other end",
    ("softmax_score", "theta.clone()"): "theta asks for no gradient",
    **{("train", part): "one dimension" for part in ("theta.softmax(-1)", "(leaf, -1)", "F.softmax(theta, -1)")},
    **{
        ("train", part): "what comes in asks for no gradient, and play draws"
        for part in ("play(leaf)", "play(theta)", "theta.clone().requires_grad_", "return theta")
    },
    ("entropy_slope", "leaf) * h_fail"): "a constant has no slope",
    ("entropy_slope", "leaf)[-1]"): "one gradient",
    **{
        ("teacher_returns", part): "behind the last token nothing is left to be paid"
        for part in ("return paid.sum", "return paid.flip", "insert(0, total)", "mask @ later")
    },
    ("percentile", "return ordered["): "never reached: the last count is enough for any share",
    ("cache_share", "if cached > 0"): "of nothing from the cache the share is 0",
    ("percentile", "max(0, math.ceil"): "of a share above 0 the count is at least 1",
    ("percentile", " - 1, -1)"): "of a share above 0 the count is at least 1",
    ("gaussian_score", "x.clone()"): "the inputs ask for no gradient",
    ("others_mean", "shape[1]"): "two dimensions",
    ("others_mean", "shape[-1]"): "two dimensions",
    ("best_baseline", "clamp("): "guarded by where",
    ("best_baseline", "best / total,"): "guarded by where",
    ("best_baseline", "total >= 0"): "0 / 1e-300 is 0",
    ("best_baseline", "total > -1"): "0 / 1e-300 is 0",
    ("best_baseline", "torch.where(bottom == 0, 2.0"): OVERWRITTEN,
    ("best_baseline", "torch.where(bottom == 0, 0.0, bottom"): OVERWRITTEN,
    ("best_baseline", "torch.where(bottom == 0, 1.01"): OVERWRITTEN,
    ("best_baseline", "torch.where(bottom == 1, 1.0"): OVERWRITTEN,
    ("best_baseline", "bottom == -1"): OVERWRITTEN,
    ("best_baseline", "weights.mean() > 0"): "positive where the sum is",
    ("best_baseline", "torch.nan_to_num(returns"): "0 is what it puts in anyway",
    ("rewards_to_go", "found.insert(0, running)"): "past the end there is nothing left to sum",
    ("rewards_to_go", "return result"): "past the end there is nothing left to sum",
    ("rewards_to_go", "/ weights"): "past the end there is nothing left to sum",
    ("rewards_to_go", "@ powers"): "past the end there is nothing left to sum",
    ("gae", ".to(errors), 0.0)"): OVERWRITTEN,
    ("gae", "ones_like(rewards), 0.0"): OVERWRITTEN,
    ("shaped_rewards", "torch.roll(potentials, -1)"): "what crosses a row's end is set to 0",
    ("spread_reward", "row.mean() == 0"): "zero where the sum is",
    ("spread_reward", "-1)"): "one dimension, counted from the other end",
    ("traces", "float(beta) ** age"): OVERWRITTEN,
    ("prefix_weights", "cumsum(1)"): "two dimensions",
    ("effective_samples", "norm(dim=-1)"): "the 2-norm is the default",
    ("natural_direction", "[:, -1]"): "one column",
    ("critic_weights", "[:, -1]"): "one column",
    ("critic_weights", "returns"): CENTRED,
    ("critic_weights", "keepdim=False"): "broadcasts alike",
    ("critic_weights", "scores - scores.mean(0)"): "broadcasts alike",
    ("critic_weights", "inverse ="): "a direction in which the returns have no part",
    ("kl_sized", "torch.where(good, slope"): OVERWRITTEN,
    ("grpo_advantages", "dim=1"): "two dimensions",
    ("token_log_probs", "transpose(2, 1)"): "the same exchange",
    ("full_entropy", "isneginf(), "): OVERWRITTEN,
    ("exact_kl", "isneginf(), "): OVERWRITTEN,
    ("exact_kl", "masked_fill("): OVERWRITTEN,
    ("grpo", "losses = -advantages.reshape"): "rewards ask for no gradient",
    ("grpo", "loss = 1.0"): "a constant has no gradient",
    ("grpo", "loss = -1"): "a constant has no gradient",
    ("grpo", "(1 / (norm "): "a millionth of the norm",
    ("grpo", "(1 / norm)"): "a millionth of the norm",
    ("grpo", "zero_grad("): "none or zero is the same to SGD",
    ("ppo_loss", "signed > 0"): "at A = 0 the loss is 0 either way",
    ("ppo_loss", "a >= 0"): "at A = 0 the loss is 0 either way",
    ("ppo_loss", "a <= 0"): "at A = 0 the loss is 0 either way",
    ("ppo_loss", "ratio >= 1.2"): "at the edge both candidates are one",
    ("ppo_loss", "ratio <= 0.8"): "at the edge both candidates are one",
    ("ppo_loss", "-ratio.clamp(0.8, 1.2)"): "a clamp has no gradient outside",
    ("ppo_loss", "advantages[:, None].expand_as"): "the reference leaves the advantage to the caller: it asks for none",
    ("ppo_loss", "advantages.unsqueeze"): "the reference leaves the advantage to the caller: it asks for none",
    ("ppo_loss", "unsqueeze(1)"): "two dimensions",
    ("sequence_weights", "dim=1"): "two dimensions",
    ("sequence_weights", "ones_like(mask"): "a linear function has one gradient everywhere",
    ("sequence_weights", "[-1]"): "a tuple of one",
    ("leave_one_out", "shape[1]"): "two dimensions",
    ("leave_one_out", "shape[-1]"): "two dimensions",
    ("leave_one_out", "ones_like(rewards)"): OVERWRITTEN,
    ("to_go", "ones_like(mask)"): OVERWRITTEN,
    ("checker", "ord('0')"): "48 is divisible by 3",
    ("checker", "ord(character)"): "48 is divisible by 3",
    ("checker", "character.isdigit()"): "the sum of ord and a text of 64 leave the rest the same for ³",
    ("checker", "64 - len"): "zero where the other is",
    ("end_mask", "ends - ends.cumsum(1) == 0"): "zero where the other is",
    ("draw", "unsqueeze(1)"): "two dimensions",
    ("draw", "1)"): "two dimensions",
    ("draw", "[:, -1]"): "one column",
    ("bonus_weight", "rewards.mean(1, keepdim=True) - rewards"): "it is squared",
    ("bonus_weight", "e-08"): "far below what the cap lets through",
    ("bonus_weight", "base / variance)"): "1/0 is infinite and is capped alike",
    ("bonus_weight", "variance + 0.0"): "1/0 is infinite and is capped alike",
    ("floor", "q < p"): "at q = p both are 0",
    ("floor", "q <= p:"): "at q = p both are 0",
    ("floor", "torch.tensor([[q, 1 - q], [p, 1 - p]])"): "float32, within the tolerance",
    ("wilson", "max("): "the root is never of a number below 1",
    ("wilson", "range("): "bisection has converged",
    ("wilson", "outside"): "bisection converges to the same point",
    ("wilson", "far, near"): "bisection converges to the same point",
    ("wilson", "end("): "bisection converges to the same point",
    ("p_value", "range(n + 2)"): "math.comb(n, n + 1) is 0",
    ("p_value", "c < counts[gained]"): "the tolerance for rounding makes it the same",
    ("p_value", "n - 2 * k"): "in an absolute value",
    ("p_value", "1.01e-09"): "a tolerance for rounding",
    ("token_positions", "- padding"): "on the CPU a device changes nothing",
    ("token_positions", "cumsum(1)"): "two dimensions",
    ("end_mask", "torch.arange("): "on the CPU a device changes nothing",
    ("scored_log_probs", "[..., -1]"): "one column",
    ("steps_to_half", "range(4,"): "a slice from -1 to 4 is empty, or holds one rate",
    ("steps_to_half", "+ 2)"): "past the end, a half in four rates is the same as never",
    ("steps_to_half", "range(len(strict_rates)"): "past the end, a half in four rates is the same as never",
    ("steps_to_half", "unfold("): "one dimension, counted from the other end",
    ("sign_flip_p_value", "found"): "a tolerance for rounding, and no ties that rounding could part",
    ("sign_flip_p_value", "values.sum().abs()"): "a tolerance for rounding",
    ("sign_flip_p_value", "total - sign"): "all signs are gone through",
    ("sign_flip_p_value", "- 1)"): "all signs are gone through",
    ("sign_flip_p_value", "signs = 2 *"): "all signs are gone through",
    ("sign_flip_p_value", "rest[0] - total"): "all signs are gone through, and the sum is in an absolute value",
    ("least_seeds", "n = "): "where the search begins; one seed is never enough",
    ("least_seeds", "seeds = "): "where the search begins; one seed is never enough",
    ("least_seeds", "range("): "where the search begins and ends",
    ("least_seeds", "while "): "one seed is never enough",
    ("fires_at_nothing", "q - 1"): "its powers are squared, or come in even pairs",
    ("fires_at_nothing", "if a > b"): "two equal policies: each is the lower one as often",
    ("fires_at_nothing", "for a in range("): "no a below b is left out, or beyond it",
    ("compared", "mask.mean("): "above 0 where the sum is",
    ("compared", "count"): "0 / 0 is not taken: others are",
    ("compared", "[..., -1]"): "one column",
    ("two_terms", "documents.softmax(-1)"): "one dimension, counted from the other end",
    ("best_group", "= price"): "a tie: both cost the same",
    ("best_group", "price(group) >="): "a tie: both cost the same",
    ("best_group", "rises ="): "a tie: both cost the same",
    ("best_group", "while group"): "a tie: both cost the same",
    ("holm", "-1"): "one dimension, counted from the other end; below every p-value",
    ("verdict", "= smallest"): "an end exactly at the smallest difference that matters may be read either way",
    ("verdict", "= -smallest"): "an end exactly at the smallest difference that matters may be read either way",
    ("verdict", "difference >= 0"): "a mean of exactly 0 is never significant",
    ("any", "zip("): "commutes",
}


def changes(node: ast.AST) -> Iterator[ast.AST]:
    """What may stand in the place of a node, one small mistake each."""
    if isinstance(node, ast.BinOp | ast.AugAssign):
        for other in OPERATORS.get(type(node.op), []):
            yield _with(node, op=other())
        if isinstance(node, ast.BinOp) and isinstance(node.op, ast.Sub | ast.Div | ast.Pow):
            yield _with(node, left=node.right, right=node.left)
        if isinstance(node, ast.BinOp) and not isinstance(node.left, ast.Constant):
            yield node.left  # the other half forgotten
    if isinstance(node, ast.Compare) and len(node.ops) == 1:
        for other in COMPARISONS.get(type(node.ops[0]), []):
            yield _with(node, ops=[other()])
    if isinstance(node, ast.BoolOp):
        yield _with(node, op=ast.Or() if isinstance(node.op, ast.And) else ast.And())
        yield from (_with(node, values=[v for v in node.values if v is not value]) for value in node.values)
    if isinstance(node, ast.UnaryOp) and isinstance(node.op, ast.USub | ast.Not | ast.Invert):
        yield node.operand
    if isinstance(node, ast.IfExp):
        yield node.body
        yield node.orelse
    if isinstance(node, ast.Constant) and isinstance(node.value, int | float) and not isinstance(node.value, bool):
        yield ast.Constant(node.value + 1)
        yield ast.Constant(node.value - 1) if node.value != 0 else ast.UnaryOp(ast.USub(), ast.Constant(1))
        if isinstance(node.value, float) and node.value:
            yield ast.Constant(node.value * 1.01)
            yield ast.Constant(0.0)
    if isinstance(node, ast.Constant) and isinstance(node.value, bool):
        yield ast.Constant(not node.value)
    if isinstance(node, ast.Slice):
        yield ast.Slice()
    if isinstance(node, ast.Call):
        name = node.func.attr if isinstance(node.func, ast.Attribute) else getattr(node.func, "id", "")
        for other in NAMES.get(name, []):
            changed = copy.deepcopy(node)
            setattr(changed.func, "attr" if isinstance(node.func, ast.Attribute) else "id", other)
            yield changed
        if name in DROPPED and isinstance(node.func, ast.Attribute):
            receiver = node.func.value
            yield node.args[0] if isinstance(receiver, ast.Name) and receiver.id == "torch" else receiver
        for keyword in node.keywords:
            if keyword.arg not in SILENT:
                yield _with(node, keywords=[k for k in node.keywords if k is not keyword])
        if len(node.args) == 2 and name not in COMMUTES:
            yield _with(node, args=node.args[::-1])


def _with(node: ast.AST, **fields: object) -> ast.AST:
    changed = copy.copy(node)
    for field, value in fields.items():
        setattr(changed, field, value)
    return changed


def _idle(tree: ast.AST) -> set[int]:
    """Nodes in which a change is none: what only gives a shape, or an axis counted from the other end."""
    found: set[int] = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Call):
            name = node.func.attr if isinstance(node.func, ast.Attribute) else getattr(node.func, "id", "")
            if name.endswith("_like"):
                found.update(id(part) for argument in node.args for part in ast.walk(argument))
            for keyword in node.keywords:
                if keyword.arg in SILENT:
                    found.update(map(id, ast.walk(keyword)))
            if name in AXES:
                given = [*node.args, *(keyword.value for keyword in node.keywords)]
                found.update(id(part) for part in given if isinstance(part, ast.UnaryOp))
            if name == "abs" and node.args:
                found.add(id(node.args[0]))
    return found


class _Replace(ast.NodeTransformer):
    def __init__(self, old: ast.AST, new: ast.AST) -> None:
        self.old, self.new = old, new

    def visit(self, node: ast.AST) -> ast.AST:
        return self.new if node is self.old else self.generic_visit(node)


def mutants(source: str) -> Iterator[str]:
    """Every version of a function with one small mistake, without its docstring and comments."""
    plain = ast.unparse(ast.parse(source))
    seen = {plain}
    for i, _ in enumerate(ast.walk(ast.parse(plain))):
        for j in range(20):
            tree = ast.parse(plain)
            node = list(ast.walk(tree))[i]
            options = [] if id(node) in _idle(tree) else list(changes(node))
            if j >= len(options):
                break
            text = ast.unparse(ast.fix_missing_locations(_Replace(node, options[j]).visit(tree)))
            if text not in seen:
                seen.add(text)
                yield text


def _tensors(function: Callable) -> Callable:
    """Apply to every tensor or number of a value."""

    def applied(value):
        if isinstance(value, list | tuple):
            return type(value)(map(applied, value))
        if isinstance(value, torch.Tensor):
            return function(value)
        if isinstance(value, float):
            return function(torch.tensor(value, dtype=torch.float64)).double().item()
        return value

    return applied


def _untrue(value):
    return not value if isinstance(value, bool) else value


WHOLE = {  # what may happen to a value as a whole
    "nan_to_num": _tensors(lambda x: x.nan_to_num(0.0, posinf=0.0, neginf=0.0)),
    "clamp(min=0)": _tensors(lambda x: x.clamp(min=0)),
    "clamp(max=1)": _tensors(lambda x: x.clamp(max=1)),
    "minus": _tensors(lambda x: -x),
    "plus one": _tensors(lambda x: x + 1),
    "twice": _tensors(lambda x: 2 * x),
    "detach": _tensors(lambda x: x.detach()),
    "abs": _tensors(lambda x: x.abs()),
    "roll of axis 0": _tensors(lambda x: x.roll(1, 0) if x.ndim else x),
    "roll of the last axis": _tensors(lambda x: x.roll(1, -1) if x.ndim else x),
    "flip of axis 0": _tensors(lambda x: x.flip(0) if x.ndim else x),
    "flip of the last axis": _tensors(lambda x: x.flip(-1) if x.ndim else x),
    "another dtype": _tensors(lambda x: x.float() if x.dtype == torch.float64 else x.double()),
    "unsqueeze": _tensors(lambda x: x.unsqueeze(0)),
    "not": _untrue,
}


def right_answers(entry: Exercise) -> list[str]:
    """The sources: the declared answer's, and those that the tests hold."""
    source = ANSWERS.read_text(encoding="utf-8")
    nodes = [node for node in ast.parse(source).body if isinstance(node, ast.FunctionDef) and node.name == entry.name]
    return [entry.solved, *map(ast.unparse, nodes)]


def define(source: str, name: str) -> Callable | None:
    space = {"math": math, "torch": torch, "F": torch.nn.functional}
    try:
        exec(source, space)
    except Exception:  # a mutant that cannot even be defined makes no mistake to catch
        return None
    return space[name]


def _same(entry: Exercise, text: str) -> str | None:
    return next((why for (name, part), why in SAME.items() if name in (entry.name, "any") and part in text), None)


def try_on(entry: Exercise) -> tuple[int, int, list[str]]:
    """How many mistakes were made, how many are none, and those that survived, in words."""
    made, same, survivors = 0, 0, []
    for source in right_answers(entry):
        plain = ast.unparse(ast.parse(source)).splitlines()
        for text in mutants(source):
            function = define(text, entry.name)
            if function is None:
                continue
            made += 1
            if grade(entry, function).outcome != "correct":
                continue
            changed = "; ".join(line.strip() for line in text.splitlines() if line not in plain)
            if _same(entry, changed):
                same += 1
            else:
                survivors.append(changed)
    for label, change in WHOLE.items():

        def changed_reference(*arguments, change=change):
            return change(entry.reference(*arguments))

        def alike(case, change=change):
            value = entry.reference(*case)
            return repr(change(value)) == repr(value)

        try:
            if "nan" not in label and all(alike(case) for case in entry.inputs()):
                continue  # nothing of the kind to change in this value
        except Exception:
            continue  # an input that is refused, or a change that this value does not allow
        made += 1
        if grade(entry, changed_reference).outcome == "correct":
            if _same(entry, f"the reference, {label}"):
                same += 1
            else:
                survivors.append(f"the reference, {label}")
    return made, same, survivors


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("names", nargs="*", help="exercises; without any, all")
    args = parser.parse_args()
    sys.modules[grade.__module__].SECONDS = 1.0  # a mutant may well be endless
    rows, left = [], []
    for entry in all_exercises():
        if args.names and entry.name not in args.names:
            continue
        made, same, survivors = try_on(entry)
        rows.append([entry.name, made, same, len(survivors)])
        left += [f"{entry.name}: {survivor}" for survivor in survivors]
        print("\n  ".join([f"{entry.name}: {made}", *survivors]), file=sys.stderr, flush=True)
    made, same, survived = (sum(row[i] for row in rows) for i in (1, 2, 3))
    print(Table(["exercise", "changes", "the same", "survived"], [*rows, ["all", made, same, survived]]))
    print("\n".join(["Survivors:", *left] if left else ["No survivors."]))
    rate = 1 - survived / max(1, made - same)
    print(f"Caught: {made - same - survived} of {made - same} mistakes, {rate:.1%}; {same} changes are none.")
    sys.exit(rate < TARGET)


if __name__ == "__main__":
    main()
