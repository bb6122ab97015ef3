"""Checks of domains: their rows, and their scores of answers. Imports no torch, as domains need none."""

from __future__ import annotations

import dataclasses
import json
import os
import random
import subprocess
import sys
from collections.abc import Sequence

from ftp.data.fingerprint import fingerprint
from ftp.errors import UserError
from ftp.forms import all_forms, get
from ftp.types import Data, Predictions
from ftp_testing import domains
from ftp_testing.outcome import Fault, NotApplicable, check
from ftp_testing.subject import Subject

BEST = ("accuracy", "f1", "macro_f1", "micro_f1", "precision", "recall", "exact_match", "em", "mcc", "bleu", "rouge1", "rougeL")
"""Scores that are 1 when every answer is right, whatever the domain."""

WITHOUT_TORCH = """
import importlib.machinery, sys


class NoTorch:  # there, so that libraries which only look for it find it; not to be imported
    def find_spec(self, name, path=None, target=None):
        return importlib.machinery.ModuleSpec(name, self) if name == "torch" else None

    def create_module(self, spec):
        raise ImportError("torch was imported")

    def exec_module(self, module):
        pass


sys.meta_path.insert(0, NoTorch())
from ftp_testing import domains
from ftp_testing.subject import find

domains.scored(find(sys.argv[1]))
"""


@check("domain")
def gives_what_it_says(subject: Subject) -> str:
    """Rows of each form in `gives` load, and settle into that form."""
    forms = domains.given(subject)
    if not forms:
        raise Fault("it does not say which forms it gives", "@plugin(gives=(\"labelled\", \"text\")), its best form first")
    unknown = [form for form in forms if form not in all_forms()]
    if unknown:
        raise Fault(f"it gives {', '.join(unknown)}, which is no form", f"one of: {', '.join(all_forms())}")
    findings = []
    for form in forms:
        try:
            data = domains.rows(subject, form)
        except UserError as error:
            raise Fault(f"it says that it gives '{form}', but: {error}", "ftp.data.load(run, sample, form=...) reads rows in the run's form") from error
        sizes = {split: len(domains.stored(rows, split)) for split, rows in data.splits.items()}
        empty = [split for split, size in sizes.items() if not size]
        if empty:
            raise Fault(f"{', '.join(empty)} of the form '{form}' has no rows", "leave out a split that has none")
        findings.append(f"{form}: " + ", ".join(f"{size} {split}" for split, size in sizes.items()))
    return "; ".join(findings)


@check("domain")
def splits_are_apart(subject: Subject) -> str:
    """No row of one split is in another, word for word."""
    form = domains.given(subject)[0]
    data = domains.rows(subject, form)
    spec = get(form)
    # the same text with another answer is the same row
    columns = [name for name in spec.required if name not in spec.answers or spec.has_messages]
    seen: dict[str, tuple[str, int]] = {}
    total = 0
    for split, rows in data.splits.items():
        of_split: dict[str, tuple[str, int]] = {}  # twice in one split is no fault
        for row_index, row in enumerate(domains.stored(rows, split).select_columns(columns).to_list()):
            text = json.dumps(row, sort_keys=True, ensure_ascii=False).lower()
            total += 1
            if text in seen:
                other_split, other_index = seen[text]
                raise Fault(f"row {row_index} of {split} is also row {other_index} of {other_split}: {text[:80]} ...; its score is no evidence",
                            "cut before doubling or shuffling rows, and take copies out")
            of_split.setdefault(text, (split, row_index))
        seen |= of_split
    return f"{total} rows of {', '.join(data.splits)}, none in two"


@check("domain")
def gives_the_same_rows_each_time(subject: Subject) -> str:
    """Loading twice gives the same rows in the same order."""
    form = domains.given(subject)[0]
    first = domains.rows(subject, form)
    del subject.memory.domain_rows[form, False]
    again = domains.rows(subject, form)
    for split, rows in first.splits.items():
        if fingerprint(domains.stored(rows, split)) != fingerprint(domains.stored(again.splits[split], split)):
            raise Fault(f"{split} has other rows, or another order, the second time: no run could be repeated or resumed",
                        "draw from random.Random(run.settings.seed), and read files in sorted order")
    return f"{', '.join(first.splits)} twice"


@check("domain")
def right_answers_score_best(subject: Subject) -> str:
    """When every answer is right each score is the best there is (accuracy, F1 and exact match are 1), and when every one is wrong
    it is not."""
    findings = []
    for data, right in domains.scored(subject):
        wrong = domains.scores(subject, data, domains.predictions(data, False))
        for (name, split), score in right.items():
            has_best = name.lower() in BEST
            if has_best and abs(score.value - 1) > 1e-9:
                raise Fault(f"{name} of {split} is {score.value:.6g} when every answer is right ({data.form}), not 1",
                            "compare answers and rows in the same order and with the same names; scores are shares, not per cent")
            if (name, split) not in wrong:
                continue
            of_wrong = wrong[name, split].value
            is_better = of_wrong > score.value + 1e-9 if score.goal == "max" else of_wrong < score.value - 1e-9
            if is_better:
                raise Fault(f"{name} of {split} is {score.value:.6g} when every answer is right and {of_wrong:.6g} when every one is wrong, "
                            f"and its goal is '{score.goal}'", "goal says which way is better: \"max\" or \"min\"")
            if has_best and abs(of_wrong - 1) < 1e-9:
                raise Fault(f"{name} of {split} is 1 also when every answer is wrong", "compare answers with rows")
        # a score that is the same for right and wrong answers measures nothing
        if not any(abs(right[key].value - wrong[key].value) > 1e-9 for key in right.keys() & wrong.keys()):
            raise Fault(f"no score of the form {data.form} tells right answers from wrong ones", "compare answers with rows")
        findings.append(f"{data.form}: " + ", ".join(sorted({name for name, _ in right})))
    return "; ".join(findings)


@check("domain")
def scores_do_not_depend_on_order(subject: Subject) -> str:
    """Rows in another order have the same scores."""
    for data, _ in domains.scored(subject):
        most = max(len(rows) for rows in data.splits.values())
        scores = domains.scores(subject, data, _partly_right(data, list(range(most))))
        shuffled = random.Random(0).sample(range(most), most)
        of_shuffled = domains.scores(subject, data, _partly_right(data, shuffled))
        for (name, split), score in scores.items():
            other = of_shuffled.get((name, split))
            if other is None or abs(score.value - other.value) > 1e-9:
                raise Fault(f"{name} of {split} is {score.value:.6g}, and {'missing' if other is None else other.value} with the "
                            "rows in another order", "pair each answer with its own row (predictions[split].rows)")
    return "the same scores in either order"


def _partly_right(data: Data, order: Sequence[int]) -> dict[str, Predictions]:
    """Answers to rows in an order, of which every third is wrong: that of the same rows in any order."""
    right = domains.predictions(data, True, order)
    wrong = domains.predictions(data, False, order)
    mixed = {}
    for split, predictions in right.items():
        row_indices = [row_index for row_index in order if row_index < len(predictions.rows)]
        answers = []
        for i, row_index in enumerate(row_indices):
            source = predictions if row_index % 3 else wrong[split]
            answers.append(source.answers[i])
        mixed[split] = dataclasses.replace(predictions, answers=answers)
    return mixed


@check("domain")
def needs_no_torch(subject: Subject) -> str:
    """Rows load and answers are scored where torch cannot be imported: people who bring a domain need none."""
    if not hasattr(subject.cls, "evaluate"):
        raise NotApplicable("it brings no scores (evaluate)")
    done = subprocess.run([sys.executable, "-P", "-c", WITHOUT_TORCH, subject.local or subject.name], capture_output=True, text=True, timeout=120,
                          env={**os.environ, "PYTHONPATH": os.pathsep.join(path for path in sys.path if path)})
    if done.returncode:
        raise Fault(f"loading and scoring without torch fails: {done.stderr.strip().splitlines()[-1][:300]}",
                    "score with scikit-learn or plain Python; core has predicted already")
    return "loads and scores without it"


