"""Checks of what an objective trains: the loss falls, weights move, and gradients are those of the loss. Heavy: imports torch."""

from __future__ import annotations

import math

import torch

from ftp_testing.gradients import in_double, slopes, total, unused
from ftp_testing.objective_scenes import train
from ftp_testing.outcome import Fault, NotApplicable, check
from ftp_testing.scene import build, copied, move, noting_gradients, scene_of
from ftp_testing.subject import Subject


@check("objective")
def loss_falls(subject: Subject) -> str:
    """The loss is finite, depends on the trained weights, and falls on the same rows within a few updates."""
    scene = scene_of(subject)
    rows = scene.rows(8)
    before = scene.total(rows)
    if not math.isfinite(before):
        raise Fault(f"the loss of the first rows is {before}", "look for a logarithm or a division of zero")
    # losses are shown a term, so that objectives of tokens and of rows read alike
    count = scene.batch(rows).count
    if count < 1:
        raise Fault("no term of the first rows is learnt (Batch.count is 0): all labels are masked", "see which tokens are labelled")
    train(scene, rows, updates=12)
    after = scene.total(rows)
    if not after < before:
        raise Fault(f"twelve updates on the same {len(rows)} rows bring the loss from {before / count:.4g} to "
                    f"{after / count:.4g} a term: it does not fall", "look at the sign of `total`, and whether it is detached on the way")
    return f"{before / count:.4g} to {after / count:.4g} a term in 12 updates"


@check("objective")
def weights_move_as_they_should(subject: Subject) -> str:
    """Every trained weight moves in training, and no frozen one does."""
    base = scene_of(subject)
    names = sorted(name for name in base.trained() if not name.startswith("extra."))
    frozen = frozenset(names[::3])  # a third of them, as a parameterisation would freeze them
    scene = build(subject, base.kind, freeze=frozen.__contains__)
    before = copied(scene.weights())
    trained = set(scene.trained())
    woken = sorted(frozen & trained)
    if woken:
        raise Fault(f"{woken[0]} was frozen by a parameterisation, and make_loss has it trained again",
                    "leave requires_grad as build_model gave it")
    # a loss that depends on frozen weights alone (a detached head) would fail in the backward pass without a word of why
    if not scene.loss.compute(scene.batch(scene.rows(8))).total.requires_grad:
        raise Fault(f"with {len(frozen)} weights frozen the loss depends on none of the trained ones: {min(trained)}, for one, gets no gradient",
                    "compute the loss from all of the network's output, without detaching it")
    # a weight may get a gradient of zero and stay where it is, which is no fault
    with noting_gradients(scene.trained()) as reached:
        train(scene, scene.rows(8), updates=4)
    after = scene.weights()
    for name, value in before.items():
        has_moved = not torch.equal(value, after[name].detach())
        if has_moved and name not in trained:
            raise Fault(f"{name} is frozen, and training moved it", "change weights only through the optimizer; it has the trained ones")
        if not has_moved and name in trained and name not in reached:
            raise Fault(f"{name} is trained, and four updates did not move it: it gets no gradient",
                        "compute the loss from all of the network's output, without detaching it")
    return f"{len(trained)} trained weights got gradients, {len(before) - len(trained)} frozen ones did not move"


@check("objective")
def gradients_are_those_of_the_total(subject: Subject) -> str:
    """The gradient of each trained weight is how `total` changes with it (a finite difference along random directions), and each
    has a part in it. What a method means to leave out of the gradient is said in words by `@plugin(detaches="...")`."""
    scene = move(scene_of(subject))
    scene.model.net.train()
    batch = scene.batch(scene.rows(4))
    # differences of a loss that draws anew would measure the draw
    first, second = total(scene, batch), total(scene, batch)
    if not first.requires_grad:
        raise Fault("`total` depends on no trained weight", "compute it with gradients, and without detaching it on the way")
    if not torch.equal(first, second):
        raise NotApplicable("the same batch has another loss the second time, with the same random state")
    idle = unused(scene, batch)
    if idle:
        raise Fault(f"{idle[0]} is trained, and not a bit of `total` depends on it, however far it is moved",
                    "it is not used, or multiplied by zero on the way; freeze it, or let it have its part in the loss")
    reason = subject.picked.declaration.detaches
    if reason:
        raise NotApplicable(f"every weight has a part in the loss; it says that it leaves out of the gradient: {reason}")
    names: set[str] = set()
    with in_double(scene, batch) as is_double:
        for slope in slopes(scene, batch):
            names.add(slope.weight)
            if not slope.agrees:
                raise Fault(f"`total` changes by {slope.by_difference:.5g} a unit along a random direction of {slope.weight}, and its "
                            f"gradient says {slope.by_gradient:.5g}",
                            "look for a term that is detached or computed without gradients, and for a wrong sign or factor in a backward "
                            "pass of your own; what the method means to leave out is said by @plugin(detaches=\"...\")")
    return f"{len(names)} weights, in {'double' if is_double else 'single'} precision"
