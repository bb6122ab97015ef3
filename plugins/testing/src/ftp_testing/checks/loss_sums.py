"""Checks of how losses add up: over batches, micro-batches, padded and packed rows. Heavy: imports torch."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from ftp.types import Row
from ftp_testing.objective_scenes import moved_at_first, moved_at_last
from ftp_testing.outcome import Fault, NotApplicable, check
from ftp_testing.scene import Scene, apart, close, copied, move, scene_of
from ftp_testing.subject import Subject


@check("objective")
def totals_are_sums(subject: Subject) -> str:
    """`LossOut.total` is a sum over `Batch.count` terms: rows in one batch give what they give in two, and twice the same rows
    give twice as much."""
    # at the start many losses are equal by chance (the reference is the model itself), so weights are moved
    scene = moved_at_first(scene_of(subject))
    rows = scene.rows(7)
    batches = (rows[:3], rows[3:], rows, rows + rows)
    counts = [scene.batch(part).count for part in batches]
    if counts[0] + counts[1] != counts[2] or counts[3] != 2 * counts[2]:
        raise Fault(f"Batch.count of 3, 4, 7 and 14 rows is {counts}: it does not add up", "count the terms that `total` sums: rows, or trained tokens")
    if scene.loss.over == "batch":
        return _check_sum_over_a_batch(scene, rows)
    first, second, together, twice = (scene.total(part) for part in batches)
    # a mean has the same value for the same rows twice, and weighs batches by their counts
    is_mean_of_parts = close(together * counts[2], first * counts[0] + second * counts[1])
    is_same_twice = close(twice, together) and abs(together) > 1e-6
    if (is_mean_of_parts and not close(together, first + second)) or is_same_twice:
        raise Fault(f"`total` is a mean, not a sum: batches of {counts[0]}, {counts[1]} and {counts[2]} terms give {first:.4g}, "
                    f"{second:.4g} and {together:.4g}",
                    "add up (reduction='sum'); the step divides once, by the count over all micro-batches and ranks")
    if not close(twice, 2 * together):
        raise Fault(f"the same rows twice give {twice:.6g}, once {together:.6g}: `total` is no sum over rows",
                    "add up the rows' losses; a row's loss may not depend on which others are in its batch")
    if not close(together, first + second):
        raise Fault(f"two batches give {first:.6g} and {second:.6g}, their rows in one {together:.6g}: a row's loss depends on "
                    "the rows beside it", "look for padding that is not masked, rows that attend to each other, or a mean")
    _check_rows_of_total(scene, rows, together, counts[2])
    return f"{first:.4g} + {second:.4g} = {together:.4g} over {counts[2]} terms"


def _check_rows_of_total(scene: Scene, rows: Sequence[Row], total: float, count: int) -> None:
    """`row_losses` and `row_counts`, where there are any, add up to `total` and to the count."""
    out = scene.out(rows)
    if out.row_losses is not None and not close(float(out.row_losses.sum()), total):
        raise Fault(f"row_losses add up to {float(out.row_losses.sum()):.6g}, total is {total:.6g}", "row_losses are sums of each row's terms")
    if out.row_counts is not None and round(float(out.row_counts.sum())) != count:
        raise Fault(f"row_counts add up to {float(out.row_counts.sum()):g}, Batch.count is {count}", "both count the same terms")


def _check_sum_over_a_batch(scene: Scene, rows: list[Row]) -> str:
    """A loss over a batch may depend on which rows are in it, not on their order; and one whose rows count each for itself has
    no reason to say `over = "batch"`, which keeps core from splitting updates."""
    together, reversed_rows = scene.total(rows), scene.total(rows[::-1])
    if not close(together, reversed_rows):
        raise Fault(f"the rows of a batch give {together:.6g}, in the opposite order {reversed_rows:.6g}", "compare each row with all others")
    in_two = scene.total(rows[:3]) + scene.total(rows[3:])
    if close(together, in_two):
        raise Fault(f"Loss.over is 'batch', and two batches add up to what their rows give in one ({together:.6g})",
                    "leave out over = \"batch\": core then splits an update where memory is short")
    return f"{together:.4g} over a batch of {len(rows)}, {in_two:.4g} in two"


@check("objective")
def accumulation_changes_nothing(subject: Subject) -> str:
    """An update of 8 micro-batches of one row is that of 2 of four rows, and so is a last one of 3 rows."""
    losses_alone, weights_alone = _two_updates(subject, micro_batch_rows=1)
    losses_of_four, weights_of_four = _two_updates(subject, micro_batch_rows=4)
    for update, (alone, of_four) in enumerate(zip(losses_alone, losses_of_four, strict=True)):
        if not close(alone, of_four):
            raise Fault(f"update {update + 1} of {(8, 3)[update]} rows has the loss {alone:.6g} with one row at a time and {of_four:.6g} with "
                        "four: a mean of means", "give sums and counts; the step divides once (Loss.compute, train_step)")
    name, difference = apart(weights_alone, weights_of_four)
    if difference > 1e-4:
        raise Fault(f"the same update with one row at a time and with four leads to other weights ({name} by {difference:.2g})",
                    "give sums and counts; what depends on a whole update belongs in a train_step wrapper, not into compute")
    return f"losses {', '.join(f'{loss:.4g}' for loss in losses_alone)}; weights agree to {difference:.1e}"


def _two_updates(subject: Subject, micro_batch_rows: int) -> tuple[list[float], dict[str, Tensor]]:
    """An update on 8 rows and one on 3: the loss of each, and the weights after both."""
    scene = move(scene_of(subject))
    if scene.loss.over == "batch":
        raise NotApplicable("its loss is over a batch, so that core never splits an update (Loss.over)")
    rows = scene.rows(11)
    # plain steps: AdamW would hide a wrong scale of the gradient
    optimizer = torch.optim.SGD([{"params": list(scene.trained().values())}], lr=0.1)
    losses = []
    for window in (rows[:8], rows[8:]):
        # as the loop cuts an update where memory is short
        starts = range(0, len(window), micro_batch_rows)
        micro_batches = [window[start : start + micro_batch_rows] for start in starts]
        losses.append(float(scene.update(micro_batches, optimizer).loss))
    return losses, copied(scene.trained())


@check("objective")
def padding_changes_nothing(subject: Subject) -> str:
    """Neither the side of the padding nor how much of it there is changes a loss."""
    left = moved_at_first(scene_of(subject, side="left"))
    right = moved_at_first(scene_of(subject, side="right"))
    rows = sorted(right.rows(8), key=lambda row: len(row["input_ids"]))
    for side, scene in (("left", left), ("right", right)):
        if scene.loss.over == "batch":  # a row alone has another loss
            break
        alone = sum(scene.total([row]) for row in rows)
        padded = scene.total(rows)
        if not close(alone, padded):
            raise Fault(f"rows padded on the {side} to the longest give {padded:.6g}, without padding {alone:.6g}",
                        "mask the padding: in the attention (attention_mask), in the labels (-100), and where a row's last token is read")
    on_left, on_right = moved_at_last(left).total(rows), moved_at_last(right).total(rows)
    if not close(on_left, on_right):
        raise Fault(f"the same rows give {on_left:.6g} padded on the left and {on_right:.6g} on the right",
                    "read tokens by the attention mask, not by their place from either end; see ftp.net.layout.first and last")
    return f"{on_left:.5g} on either side, padded or not"


@check("objective")
def packing_changes_nothing(subject: Subject) -> str:
    """Rows laid end to end give what they give padded, and none reads another."""
    scene = moved_at_first(scene_of(subject, packed=True))
    padded = moved_at_first(scene_of(subject))
    if not scene.model.packed:
        raise NotApplicable("this network cannot take packed rows")
    rows = scene.rows(8)
    together = scene.total(rows)
    alone = sum(scene.total([row]) for row in rows)
    # over a batch a row alone has another loss: then packed rows are held to padded ones only
    if scene.loss.over == "terms" and not close(together, alone):
        raise Fault(f"rows packed into one line give {together:.6g}, each alone {alone:.6g}: packed rows read each other",
                    "lay them out by ftp.net.layout.lay(packed=model.packed), which keeps them apart")
    packed_total, padded_total = moved_at_last(scene).total(rows), moved_at_last(padded).total(rows)
    if not close(packed_total, padded_total):
        raise Fault(f"packed rows give {packed_total:.6g}, padded ones {padded_total:.6g}",
                    "lay rows out by ftp.net.layout.lay and read them by its slots")
    is_packed = scene.batch(rows).inputs.get("row_starts") is not None
    return f"{packed_total:.5g} either way" + ("" if is_packed else "; it pads where it could pack")
