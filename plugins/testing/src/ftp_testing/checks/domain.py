"""Checks of domains: their rows, and their scores of answers. Imports no torch, as domains need none."""

from __future__ import annotations

import json
import os
import subprocess
import sys

from ftp.data.fingerprint import fingerprint
from ftp.errors import UserError
from ftp.forms import all_forms, get
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
    if unknown := [form for form in forms if form not in all_forms()]:
        raise Fault(f"it gives {', '.join(unknown)}, which is no form", f"one of: {', '.join(all_forms())}")
    told = []
    for form in forms:
        try:
            data = domains.rows(subject, form)
        except UserError as error:
            raise Fault(f"it says that it gives '{form}', but: {error}", "ftp.data.load(run, sample, form=...) reads rows in the run's form") from error
        sizes = {split: len(domains.stored(rows, split)) for split, rows in data.splits.items()}
        if empty := [split for split, size in sizes.items() if not size]:
            raise Fault(f"{', '.join(empty)} of the form '{form}' has no rows", "leave out a split that has none")
        told.append(f"{form}: " + ", ".join(f"{size} {split}" for split, size in sizes.items()))
    return "; ".join(told)


@check("domain")
def splits_are_apart(subject: Subject) -> str:
    """No row of one split is in another, word for word."""
    form = domains.given(subject)[0]
    data = domains.rows(subject, form)
    spec = get(form)
    columns = [name for name in spec.required if name not in spec.answers or spec.has_messages]
    seen: dict[str, tuple[str, int]] = {}
    total = 0
    for split, rows in data.splits.items():
        mine: dict[str, tuple[str, int]] = {}
        for number, row in enumerate(domains.stored(rows, split).select_columns(columns).to_list()):
            text = json.dumps(row, sort_keys=True, ensure_ascii=False).lower()
            total += 1
            if text in seen:
                other, place = seen[text]
                raise Fault(f"row {number} of {split} is also row {place} of {other}: {text[:80]} ...; its score is no evidence",
                            "cut before doubling or shuffling rows, and take copies out")
            mine.setdefault(text, (split, number))
        seen |= mine
    return f"{total} rows of {', '.join(data.splits)}, none in two"


@check("domain")
def gives_the_same_rows_each_time(subject: Subject) -> str:
    """Loading twice gives the same rows in the same order."""
    form = domains.given(subject)[0]
    first = domains.rows(subject, form)
    kept = dict(subject.kept)
    subject.kept.pop(f"rows {form} False")
    again = domains.rows(subject, form)
    subject.kept.update(kept)
    for split, rows in first.splits.items():
        if fingerprint(domains.stored(rows, split)) != fingerprint(domains.stored(again.splits[split], split)):
            raise Fault(f"{split} has other rows, or another order, the second time: no run could be repeated or resumed",
                        "draw from random.Random(run.settings.seed), and read files in sorted order")
    return f"{', '.join(first.splits)} twice"


@check("domain")
def right_answers_score_best(subject: Subject) -> str:
    """When every answer is right each score is the best there is (accuracy, F1 and exact match are 1), and when every one is wrong
    it is not."""
    told = []
    for data, right in domains.scored(subject):
        wrong = domains.scores(subject, data, domains.predictions(data, False))
        for (name, split), score in right.items():
            other = wrong.get((name, split))
            if name.lower() in BEST and abs(score.value - 1) > 1e-9:
                raise Fault(f"{name} of {split} is {score.value:.6g} when every answer is right ({data.form}), not 1",
                            "compare answers and rows in the same order and with the same names; scores are shares, not per cent")
            if other is None:
                continue
            better = other.value > score.value + 1e-9 if score.goal == "max" else other.value < score.value - 1e-9
            if better:
                raise Fault(f"{name} of {split} is {score.value:.6g} when every answer is right and {other.value:.6g} when every one is wrong, "
                            f"and its goal is '{score.goal}'", "goal says which way is better: \"max\" or \"min\"")
            if name.lower() in BEST and abs(other.value - 1) < 1e-9:
                raise Fault(f"{name} of {split} is 1 also when every answer is wrong", "compare answers with rows")
        if not any(abs(score.value - wrong[key].value) > 1e-9 for key, score in right.items() if key in wrong):
            raise Fault(f"no score of the form {data.form} tells right answers from wrong ones", "compare answers with rows")
        told.append(f"{data.form}: " + ", ".join(sorted({name for name, _ in right})))
    return "; ".join(told)


@check("domain")
def scores_do_not_hang_on_order(subject: Subject) -> str:
    """Rows in another order have the same scores."""
    import dataclasses
    import random

    for data, _ in domains.scored(subject):
        most = max(len(rows) for rows in data.splits.values())
        order = random.Random(0).sample(range(most), most)
        mixed = []
        for places in (list(range(most)), order):
            right, wrong = domains.predictions(data, True, places), domains.predictions(data, False, places)
            found = {}
            for split, one in right.items():  # some right, some wrong: the same rows each time
                numbers = [place for place in places if place < len(one.rows)]
                answers = [(one if number % 3 else wrong[split]).answers[at] for at, number in enumerate(numbers)]
                found[split] = dataclasses.replace(one, answers=answers)
            mixed.append(domains.scores(subject, data, found))
        for key, score in mixed[0].items():
            if key not in mixed[1] or abs(score.value - mixed[1][key].value) > 1e-9:
                raise Fault(f"{key[0]} of {key[1]} is {score.value:.6g}, and {mixed[1][key].value if key in mixed[1] else 'missing'} with the "
                            "rows in another order", "pair each answer with its own row (predictions[split].rows)")
    return "the same scores in either order"


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


