"""Checks of which tokens an objective learns: of answers and their ends, from those before. Heavy: imports torch."""

from __future__ import annotations

from ftp import forms, heads
from ftp_testing import rows as written
from ftp_testing.learnt_terms import learnt_tokens
from ftp_testing.objective_scenes import answering_scenes, has_answers, scenes_of, task_of
from ftp_testing.outcome import Fault, NotApplicable, check
from ftp_testing.scene import Scene, move, scene_of
from ftp_testing.subject import Subject


@check("objective")
def prompts_are_not_learnt(subject: Subject) -> str:
    """Tokens of answers get a gradient, tokens of prompts do not."""
    counts = []
    for scene in answering_scenes(subject):
        tokenizer = scene.model.tokenizer
        prompt_mark = tokenizer.convert_tokens_to_ids(written.ASKED)
        answer_mark = tokenizer.convert_tokens_to_ids(written.SAID)
        learnt = [term.token for term in learnt_tokens(move(scene), scene.rows(6))]
        # byte-level tokenizers write the mark with the blank before it as one token
        marks = {tokenizer.decode([token]).strip() for token in learnt}
        if prompt_mark in learnt or written.ASKED in marks:
            raise Fault(f"tokens of prompts are learnt (of {len(learnt)} learnt tokens {learnt.count(prompt_mark)} are the mark of a prompt, on "
                        f"{scene.kind})", "label tokens of the prompt -100, so that the model learns to answer, not to ask")
        if answer_mark not in learnt and written.SAID not in marks:
            raise Fault(f"tokens of answers are not learnt, on {scene.kind}", "label the tokens of what the assistant says")
        counts.append(f"{len(learnt)} tokens on {scene.kind}")
    return f"{', '.join(counts)}, all of answers"


@check("objective")
def tokens_are_predicted_from_those_before(subject: Subject) -> str:
    """Each learnt token is predicted from the tokens up to the one right before it: neither from itself, nor with one
    left out."""
    head = task_of(subject).head
    if not heads.get(head).writes_text:
        raise NotApplicable(f"no text is continued (head {head})")
    counts = []
    for scene in scenes_of(subject):
        learnt = learnt_tokens(move(scene), scene.rows(3), placed=24)
        for term in learnt:
            if term.token == term.behind:
                continue
            tokenizer = scene.model.tokenizer
            next_token = "the row ends" if term.behind is None else f"{tokenizer.decode([term.behind])!r} comes next"
            raise Fault(f"a learnt token is not the one behind those that it is predicted from, on {scene.kind}: "
                        f"{tokenizer.decode([term.token])!r}, where {next_token}",
                        "a slot's logits are for the token of the next slot: logits[:, :-1] against labels[:, 1:]")
        counts.append(f"{len(learnt)} tokens on {scene.kind}")
    return ", ".join(counts)


@check("objective")
def learnt_text_gets_likelier(subject: Subject) -> str:
    """Where the rows are texts to imitate, each learnt token gets likelier, not less likely."""
    task = task_of(subject)
    if not heads.get(task.head).is_over_vocabulary or not forms.get(task.form).is_whole:
        raise NotApplicable(f"rows are more than texts to imitate (form {task.form}, head {task.head})")
    scene = move(scene_of(subject))
    learnt = learnt_tokens(scene, scene.rows(6))
    unlikelier = [term.token for term in learnt if not term.likelier]
    if unlikelier:
        raise Fault(f"{len(unlikelier)} of {len(learnt)} learnt tokens get less likely ({scene.model.tokenizer.decode(unlikelier[:4])!r} ...)",
                    "look at the sign of `total`: it is minimised")
    return f"{len(learnt)} tokens"


@check("objective")
def ends_are_learnt(subject: Subject) -> str:
    """The token that ends an answer (or a text) is learnt, also where it is the pad token too."""
    task = task_of(subject)
    if not heads.get(task.head).writes_text or not (has_answers(task.form) or forms.get(task.form).is_whole):
        raise NotApplicable(f"nothing is written that could end (form {task.form}, head {task.head})")
    counts = []
    for scene in scenes_of(subject):
        tokenizer = scene.model.tokenizer
        ends = _ends(scene)
        rows = scene.rows(6)
        # several texts may lie in one row, each with its own end
        num_texts = sum(len(row.get("segments") or (0,)) for row in rows)
        num_ends = sum(term.token in ends for term in learnt_tokens(move(scene), rows))
        names = " or ".join(map(str, tokenizer.convert_ids_to_tokens(sorted(ends))))
        if num_ends < (num_texts if has_answers(task.form) else 1):
            also_pad = " (where it is the pad token too)" if tokenizer.pad_token_id in ends else ""
            raise Fault(f"{names}, which ends an answer, is learnt {num_ends} times in {num_texts} texts on {scene.kind}{also_pad}: generation "
                        "would never stop",
                        "put the end into the trained part; mask padding by length, never by `input_ids == pad_token_id`")
        counts.append(f"{names} {num_ends} times on {scene.kind}")
    return ", ".join(counts)


def _ends(scene: Scene) -> set[int]:
    """What may end an answer: the EOS, or whatever token the chat template writes behind it."""
    tokenizer = scene.model.tokenizer
    ends: set[int] = set()
    if tokenizer.eos_token_id is not None:
        ends.add(int(tokenizer.eos_token_id))
    if has_answers(scene.data.form) and tokenizer.chat_template:
        text = tokenizer.apply_chat_template([written.user("a"), written.assistant("b" + written.SAID)], tokenize=False)
        behind_answer = tokenizer(text.rsplit(written.SAID, 1)[-1], add_special_tokens=False)["input_ids"]
        ends |= set(map(int, behind_answer[:1]))
    return ends
