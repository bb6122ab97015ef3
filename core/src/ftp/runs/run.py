"""One run, from plugin names to run folder: the order of things, and nothing else.

    pick names > options > audit            ftp.plugins.plan      (nothing heavy is imported)
    > load_data > how much is trained       ftp.runs.following
    > risks(data) > build_model > make_loss > encode > one trial batch > risks(start) > baselines
    > the loop (train_step, on_event, evaluate, risks(evaluation))          ftp.train.loop
    > evaluate > save > verify > risks(end) > record > report
"""

from __future__ import annotations

import time
from contextlib import ExitStack
from pathlib import Path

from ftp.data.collect import collect, encode_all
from ftp.errors import RiskStop
from ftp.evaluate.baselines import measure_baselines
from ftp.evaluate.paired import compare, with_intervals
from ftp.evaluate.predict import predict
from ftp.evaluate.scoring import best_first, score
from ftp.evaluate.train_sample import train_sample
from ftp.folder.files import Folder
from ftp.folder.log import Log
from ftp.host.quiet import quiet_libraries
from ftp.plugins import trust
from ftp.plugins.call import Hooks
from ftp.plugins.plan import Prepared
from ftp.report import keep
from ftp.risks.verdicts import Verdicts
from ftp.runs import following, inputs, start
from ftp.runs.build import build, make_source, trial
from ftp.runs.opening import check_addresses, ending_written_down, find_checkpoint, open_folder, stage, tell_plugins, write_report
from ftp.runs.saving import put_in_place, save, verify
from ftp.runs.validation import Validation
from ftp.train.schedule import between_evaluations
from ftp.types import Data, Finished, Result, StartedRun


def execute(prepared: Prepared, resume: Path | None = None) -> Result:
    """Do a prepared run: open its folder, do it, and write down how it ended, however it ended.

    Args:
        resume: the folder of a run to go on with; None for a new one.
    """
    from ftp.report.progress import Live
    from ftp.train.device import accelerator as make_accelerator
    from ftp.train.device import calm_threads, describe

    started = time.perf_counter()
    if resume is not None:
        prepared = following.as_in_folder(prepared, resume)
    check_addresses(prepared, resume)
    calm_threads()
    with ExitStack() as stack:
        accelerator = make_accelerator(prepared.settings)
        leads = accelerator.is_main_process
        quiet_libraries()
        notes: list[str] = []
        out = open_folder(prepared, accelerator, resume, stack, notes)
        display = stack.enter_context(Live(prepared, describe(accelerator))) if leads else None
        log = Log(out, writer=leads, display=display)
        stack.callback(log.close)
        if leads:  # all that stands here was the user's word
            trust.remember(trust.code_of(prepared.values, prepared.options))
        run = StartedRun(prepared.settings, prepared.task, Hooks(prepared.picked, prepared.values), out, log, accelerator)

        folder = start.begin(run, prepared, resume, notes)
        with ending_written_down(run, folder):
            stage(run, "reading data")
            data = collect(run)
            inputs.check_rows(run, data, resume is not None)
            run, prepared = following.settle(run, prepared, data, resume is not None)
        with ending_written_down(run, folder):
            result = do_run(run, prepared, data, started, folder, resume)
        if folder is not None and prepared.settings.report:
            write_report(run)
        tell_plugins(run, Finished(result.step, result))
        return result


def do_run(
    run: StartedRun, prepared: Prepared, data: Data, started: float, folder: Folder | None, resume: Path | None
) -> Result:
    """All that a run does between its rows and its result, in order."""
    from ftp import model as models
    from ftp.train import loop
    from ftp.train.device import describe

    accelerator, log, out = run.accelerator, run.log, run.out
    verdicts = Verdicts(run)
    verdicts.check("data", data)

    stage(run, "loading the model")
    model, loss = build(run, data)
    inputs.check_model(run, model.net, resume is not None)
    trained, total = models.parameters(model.net)

    stage(run, "encoding rows")
    encoded = encode_all(run, data, loss)
    source = make_source(run, data, encoded, loss)
    if folder is not None:
        folder.write_data(keep.shape(data, encoded))
    trial(run, model, loss, source)
    run, prepared = following.keep_known_metric(run, prepared, data, model, loss)
    verdicts.run = run
    following.write_down(folder, prepared)
    settings = run.settings
    verdicts.check("start", data, model, loss)

    # What the tuned model is held against, on the same held-out rows.
    held = {name: rows for name, rows in data.splits.items() if name in ("validation", "test")}
    answered, baselines = measure_baselines(run, data, model, loss, encoded, held)
    sample = train_sample(run, data, loss, source, between_evaluations(settings, source))
    validation = Validation(run, data, model, loss, encoded, sample)

    stage(run, "training")
    done = loop.train(run, model, loss, source, validation,
                      lambda evaluation, history: verdicts.check("evaluation", data, model, loss, validation.latest, history),
                      find_checkpoint(run) if resume else None)
    if settings.shard and done.best is not None:  # a sharded network stays one: its weights go into a new one
        model, loss = build(run, data, weights=done.best)

    stage(run, "scoring held-out rows")
    predictions = {name: predict(run, model, loss, rows, encoded[name], name) for name, rows in held.items()}
    scores = best_first(settings, score(run, data, predictions, model))
    comparisons = compare(run, data, model, predictions, scores, answered, baselines)
    baselines = with_intervals(baselines, comparisons)

    # The model is `model/` only once a fresh process has given the same answers with it.
    stage(run, "saving")
    if folder is not None:
        save(run, folder, data, model, loss, scores, baselines, predictions)
    if settings.verify:
        stage(run, "verifying model/ in a fresh process")
        verify(run, model, encoded)
    if folder is not None:
        put_in_place(run, folder, data, model, trained, total, verdicts.names())
    accelerator.wait_for_everyone()

    ended = verdicts.check("end", data, model, loss, predictions, done.state.history, answered, comparisons)
    seconds = time.perf_counter() - started
    result = Result(out, tuple(scores), tuple(baselines), tuple(verdicts.latest()), done.state.step, seconds, trained, total,
                    done.reason, describe(accelerator), settings.verify)
    if folder is not None:
        log.sync()
        folder.write_facts(status="finished", steps=done.state.step, seconds=seconds, reason=done.reason,
                           training_seconds=done.state.seconds, best_step=done.state.best_step if done.state.has_best else None)
    if ended and settings.on_risk == "fail":
        raise RiskStop(ended, f"the result is in {out}; --on-risk fail makes this an error")
    return result
