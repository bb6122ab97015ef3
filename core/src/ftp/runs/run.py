"""One run, from plugin names to run folder: the order of things, and nothing else.

    pick names > options > audit            ftp.plugins.plan      (nothing heavy is imported)
    > load_data > risks(data) > build_model > make_loss > encode > one trial batch > risks(start) > baselines
    > the loop (train_step, on_event, evaluate, risks(evaluation))                    ftp.train.loop
    > evaluate > save > verify > risks(end) > record > report
"""

from __future__ import annotations

import dataclasses
import math
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ftp import addresses
from ftp.errors import Problem, RiskStop, UserError
from ftp.evaluate.scoring import score, to_minimise
from ftp.folder import contents, record
from ftp.host import faults, quiet
from ftp.host.faults import whole_folder
from ftp.host.terminal import visible
from ftp.plugins import Hooks, failures_named, kind_of, trust
from ftp.plugins.plan import Prepared, prepare
from ftp.report import keep
from ftp.runs import inputs, recipes, start
from ftp.train import checkpoint
from ftp.types import Baseline, Batch, Data, Evaluation, Loss, LossOut, Model, Predictions, Risk, Run, Score

if TYPE_CHECKING:
    from datasets import Dataset

    from ftp.data.source import Source

EXTRA = "extra.safetensors"
"""What an objective trains beside the network (a value head), in model/."""


@dataclass(frozen=True)
class Result:
    """What a run ended with. `out`: its folder; `model` is in `out / "model"`, in Transformers or PEFT layout."""

    out: Path
    scores: tuple[Score, ...]
    baselines: tuple[Baseline, ...]
    risks: tuple[Risk, ...]
    step: int
    seconds: float
    trained: int
    total: int
    reason: str
    device: str = ""
    verified: bool = True  # model/ was loaded in a fresh process and gave the same answers; not so with --no-verify

    def score(self, name: str, split: str | None = None) -> float:
        """The value of a score, of the last split (test where there is one) or of `split`."""
        found = [one for one in self.scores if one.name == name and split in (None, one.split)]
        if not found:
            raise KeyError(f"no score {name!r}; there are: {sorted({one.name for one in self.scores})}")
        return found[-1].value


def run(plugins: Sequence[str], options: Mapping[str, Any]) -> Result:
    """Prepare and do a run; see `ftp.run`."""
    return execute(prepare(plugins, given=[("options", options)]))


def check_addresses(prepared: Prepared, resume: Path | None) -> None:
    """Raise `UserError` where an address lacks its secret, which no recipe holds."""
    problems = []
    for key, value in prepared.values.items():
        for name in addresses.missing(value):
            command = f"{name}=... ftp run --resume {resume}" if resume is not None else f"export {name}=..."
            problems.append(Problem(f"{key}: the secret of its address is in no recipe, and the environment has no {name}",
                                    "give it in the environment", command))
    if problems:
        raise UserError(problems)


def execute(prepared: Prepared, resume: Path | None = None) -> Result:
    """Do a prepared run. `resume`: the folder of a run to go on with."""
    from ftp.report.progress import Live
    from ftp.train.device import accelerator as make_accelerator
    from ftp.train.device import calm_threads, describe

    settings, started = prepared.settings, time.perf_counter()
    check_addresses(prepared, resume)
    calm_threads()
    with ExitStack() as stack:
        accelerator = make_accelerator(settings)
        leads = accelerator.is_main_process
        quiet_libraries()
        notes: list[str] = []
        out = open_folder(prepared, accelerator, resume, stack, notes)
        log = record.Log(out, writer=leads, display=stack.enter_context(Live(prepared, describe(accelerator))) if leads else None)
        stack.callback(log.close)
        if leads:
            trust.remember(trust.code_of(prepared.values, prepared.options))  # all that stands here was the user's word
        run = Run(settings, prepared.task, Hooks(prepared.picked, prepared.values), accelerator, out, log)
        folder = record.Folder(out) if leads else None
        if folder is not None:
            if resume is None:  # the recipe first: with it alone, a run that is killed can be resumed
                start.write_down(folder, prepared, accelerator)
            for note in (*prepared.notes, *notes):
                run.tell(note)
            if resume is not None:
                start.take_up(run, folder, prepared)
        try:
            with failures_named():
                result = _run(run, started, folder, resume)
            if folder is not None and settings.report:
                write_report(run)
            return result
        except KeyboardInterrupt:
            if folder is not None:
                close_facts(folder, "stopped", "interrupted")
            raise KeyboardInterrupt(f"stopped; go on with: ftp run --resume {out}") from None
        except BaseException as error:
            problem = error if isinstance(error, UserError) else faults.in_words(error)
            if folder is not None:
                close_facts(folder, "failed" if problem is None else "stopped", str(problem or error) or type(error).__name__)
                if settings.report and problem is not None and (isinstance(error, RiskStop) or trained_some(log)):
                    write_report(run)
            if problem is None or problem is error:
                raise
            raise problem from error


def _run(run: Run, started: float, folder: record.Folder | None, resume: Path | None) -> Result:
    from safetensors.torch import save

    from ftp import model as models
    from ftp.evaluate.metric_names import check_metric
    from ftp.evaluate.predict import predict
    from ftp.train import loop
    from ftp.train.device import describe

    settings, accelerator, log, out = run.settings, run.accelerator, run.log, run.out
    assert accelerator is not None and log is not None and out is not None
    verdicts = Verdicts(run)

    stage(run, "reading data")
    data = collect(run)
    inputs.check_rows(run, data, resume is not None)
    verdicts.check("data", data)

    stage(run, "loading the model")
    model, loss = build(run, data)
    inputs.check_model(run, model.net, resume is not None)
    trained, total = models.parameters(model.net)

    stage(run, "encoding rows")
    encoded = encode_all(run, data, loss)
    source = make_source(run, encoded, loss)
    if folder is not None:
        folder.write_data(keep.shape(data, encoded))
    trial(run, model, loss, source)
    check_metric(run, data, model, loss)
    verdicts.check("start", data, model, loss)

    held = {name: rows for name, rows in data.splits.items() if name in ("validation", "test")}
    if settings.baselines:
        stage(run, "measuring baselines")
    baselines = measure_baselines(run, data, model, loss, encoded, held)
    sample = train_sample(run, data, loss, source)

    def evaluate(step: int, forward: Callable[[Batch], LossOut]) -> tuple[Evaluation, float]:
        rows = data.splits["validation"]
        seen = predict(run, model, loss, rows, encoded["validation"], "validation", forward)
        train = predict(run, model, loss, *sample, "train", forward, answers=False) if sample else None
        scores = score(run, data, {"validation": seen}, model)
        found = Evaluation(step, seen.loss, tuple(scores), train.loss if train else None, seen.losses,
                           train.losses if train else None)
        log.event("evaluation", step=step, train_loss=found.train_loss, bands=keep.bands(seen, train),
                  **{one.name if one.name != "loss" else "validation_loss": one.value for one in scores})
        latest["validation"] = seen
        return found, to_minimise(settings.metric_for_best_model, scores)

    latest: dict[str, Predictions] = {}

    def judge(found: Evaluation, history: Sequence[Evaluation]) -> str | None:
        return verdicts.check("evaluation", data, model, loss, latest, history)

    stage(run, "training")
    newest = find_checkpoint(run) if resume else None
    done = loop.train(run, model, loss, source, evaluate, judge, newest)
    if settings.shard and done.best is not None:  # a sharded network stays one: take the weights into a new one
        model, loss = build(run, data)
        loop.put_weights(loop.Whole(model, loss), checkpoint.load(done.best)[0])

    stage(run, "scoring held-out rows")
    predictions = {name: predict(run, model, loss, rows, encoded[name], name) for name, rows in held.items()}
    scores = score(run, data, predictions, model)
    stage(run, "saving")
    if folder is not None:
        aside = folder.model_aside()
        with whole_folder(aside):
            models.save(model, aside, plugins=[one.name for one in run.hooks.picked if not one.found.default],
                        scores=[*scores, *baselines], base_files=inputs.of_base(out))
            if loss.extra is not None:
                (aside / EXTRA).write_bytes(save(loss.extra.state_dict()))
        folder.write_scores(scores, baselines)
        for name, one in predictions.items():
            folder.write_predictions(name, keep.answers(data, one, run.hidden))
        if settings.report_examples:
            folder.write_examples(keep.examples(data, predictions, settings.report_examples, run.hidden))
    if settings.verify:
        stage(run, "verifying model/ in a fresh process")
        verify(run, model, encoded)
    if folder is not None:
        model_files = folder.put_model()
        weights = contents.of_weights(out, model_files)
        folder.write_facts(verified=settings.verify, model_files=model_files, weights=weights, labels=data.labels,
                           form=data.form, head=run.task.head, model=model.name, trained=trained, total=total,
                           packed=model.packed, checks=verdicts.names())
    accelerator.wait_for_everyone()
    ended = verdicts.check("end", data, model, loss, predictions, done.state.history)
    seconds = time.perf_counter() - started
    result = Result(out, tuple(scores), tuple(baselines), tuple(verdicts.latest()), done.state.step, seconds, trained, total,
                    done.reason, describe(accelerator), settings.verify)
    if folder is not None:
        log.sync()
        folder.write_facts(status="finished", steps=done.state.step, seconds=seconds, reason=done.reason,
                           training_seconds=done.state.seconds, best_step=done.state.best_step)
    if ended and settings.on_risk == "fail":
        raise RiskStop(ended, f"the result is in {out}; --on-risk fail makes this an error")
    return result


def close_facts(folder: record.Folder, status: str, reason: str) -> None:
    """Write down how a run ended. Where the disk takes no more, that must not hide why it ended."""
    with suppress(UserError):
        folder.write_facts(status=status, reason=visible(reason))


def trained_some(log: record.Log) -> bool:
    """Whether any update is in the log, so that there is something to draw."""
    return any(line["event"] == "step" for line in log.lines)


def write_report(run: Run) -> None:
    """report.html of the run folder. What goes wrong in it must not cost a run that is done: it is told instead."""
    from ftp import report

    assert run.out is not None
    try:
        stage(run, "writing the report")
        report.write(run.out)
    except Exception as error:
        why = str(error) if isinstance(error, UserError) else f"{type(error).__name__}: {error}"
        with suppress(UserError):  # a full disk takes no line of the log either; the user has seen it by then
            run.tell(f"report.html could not be written ({why.splitlines()[0]}); to try again: ftp report {run.out}")


def stage(run: Run, doing: str) -> None:
    """Tell what is being done before and after training."""
    assert run.log is not None
    run.log.event("stage", doing=doing)


# --- data ---


def collect(run: Run, refused: list[Problem] | None = None) -> Data:
    """Answers to load_data, joined by split and brought into the run's form.

    Args:
        refused: for a look at rows that is no run: gets what a run would refuse about the splits, which stay as they are.
    """
    from ftp.data.load import settle

    splits: dict[str, Any] = {}
    owner: dict[str, str] = {}
    problems = []
    for answer in run.hooks.each("load_data", run=run):
        for split, rows in dict(answer.value).items():
            if split in splits:
                problems.append(Problem(f"split '{split}' comes from two plugins: {owner[split]} and "
                                        f"'{answer.plugin}' ({answer.package})", "leave one of them out"))
            splits[split], owner[split] = rows, f"'{answer.plugin}' ({answer.package})"
    if problems:
        raise UserError(problems)
    data, notes = settle(splits, run, refused)
    for note in notes:
        run.tell(note)
    most = run.settings.max_eval_rows
    if most is not None:
        cut = {name: rows.shuffle(seed=run.settings.seed).select(range(most)) if name != "train" and len(rows) > most else rows
               for name, rows in data.splits.items()}
        data = dataclasses.replace(data, splits=cut)
    return data


def encode_all(run: Run, data: Data, loss: Loss) -> dict[str, Any]:
    """Every split as encoded rows, once; the main process encodes, the others read what it wrote."""
    from ftp.data.encode import Counts, account, encode, whole_answers
    from ftp.data.tables import cache_home

    accelerator, policy = run.accelerator, run.settings.truncated_answers
    assert accelerator is not None
    cache = run.settings.cache_dir or cache_home()
    kept = cache / "encoded" if cache is not None else None
    encoded, problems = {}, list[Problem]()
    with accelerator.main_process_first():
        for name, rows in data.splits.items():
            if name == "train" and run.settings.streaming:
                encoded[name] = rows
                continue
            counts = Counts()
            made = encode(rows, loss.encode, name, key=loss.key, cache_dir=kept, counts=counts, tell=run.tell)
            notes, cut = account(made, counts, name, len(rows), policy)
            for note in notes:
                run.tell(note)
            problems += cut
            encoded[name] = whole_answers(made, policy)
            if not cut and not len(encoded[name]):
                raise UserError(f"split '{name}': no row is left after encoding", "no row has a trained term: check the columns "
                                "and --max-length")
    if problems:
        raise UserError(problems)
    return encoded


def make_source(run: Run, encoded: Mapping[str, Any], loss: Loss) -> Source:
    """Where the loop gets its rows from."""
    from ftp.data import source
    from ftp.train import loop

    made: source.Source
    if run.settings.streaming:
        made = source.Streamed(encoded["train"], loss, run.settings, run.tell)
    else:
        made = source.Stored(encoded["train"], run.settings)
    return made if loss.rollout is None else source.Rolled(made, loss, run.settings, loop.seed_step)


def train_sample(run: Run, data: Data, loss: Loss, source: Source) -> tuple[Dataset, Dataset] | None:
    """A fixed sample of training rows, encoded and scored as validation is: row by row, also where training rows are laid
    together in blocks. As many as validation has, 512 at most, and at most a quarter of those trained on between two evaluations
    (128 at least): scoring them then costs a twelfth of training. None for a stream, and where an answer has to be generated."""
    import numpy as np

    from ftp.data.encode import encode, whole_answers
    from ftp.train.loop import between_evaluations

    if run.settings.streaming or loss.rollout is not None:
        return None
    rows = data.splits["train"]
    trained_on = between_evaluations(run.settings, source) * len(rows) / source.per_epoch
    count = min(len(rows), len(data.splits["validation"]), 512, max(128, int(trained_on / 4)))
    part = rows.select(np.sort(np.random.default_rng(run.settings.seed).choice(len(rows), count, replace=False)))
    made = whole_answers(encode(part, loss.encode, "validation", key=loss.key), run.settings.truncated_answers)
    return (part, made) if len(made) else None


# --- model and loss ---


def build(run: Run, data: Data) -> tuple[Model, Loss]:
    """The network on its device and what it minimises; the same for the same seed."""
    from ftp.net import fast
    from ftp.train import loop

    assert run.accelerator is not None
    loop.seed_step(run.settings.seed, 0, 0)
    model = run.hooks.one("build_model", run=run, data=data)
    refuse_untrained(run, model)
    model.net.to(run.accelerator.device)
    if run.settings.gradient_checkpointing:
        model.net.gradient_checkpointing_enable(gradient_checkpointing_kwargs={"use_reentrant": False})
    if not run.settings.shard:  # it keeps copies of frozen weights
        fast.speed_up(model.net)
    model = dataclasses.replace(model, packed=packs(run, model))
    loss = run.hooks.one("make_loss", run=run, data=data, model=model)
    if loss.extra is not None:
        loss.extra.to(run.accelerator.device)
    return model, loss


def refuse_untrained(run: Run, model: Model) -> None:
    """Raise `UserError` where tokens that the run adds would stay as they were made, or were not added at all."""
    from ftp.losses.stopping import training_rows
    from ftp.model.loading import origin
    from ftp.model.token_rows import frozen

    vocabulary = model.tokenizer.get_vocab()
    if unknown := [token for token in run.settings.add_tokens if token not in vocabulary]:
        raise UserError(f"--add-tokens {','.join(unknown)}: a plugin of this run makes the tokenizer, and adds no tokens",
                        "leave --add-tokens out, or name a model with --model")
    came_from = origin(model.net)
    grown = came_from.grown.ids if came_from is not None and came_from.grown is not None else ()
    wanted = {*grown, *(vocabulary[token] for token in run.settings.add_tokens)}
    if left := frozen(model.net, wanted):
        named = ", ".join(map(str, model.tokenizer.convert_ids_to_tokens(left)))
        raise UserError(f"the rows of new tokens ({named}) are not trained by this run, so the model would not learn them",
                        "train them with another parameterisation", *training_rows(run, model)[:1])


def packs(run: Run, model: Model) -> bool:
    """Whether rows are laid end to end, told where it was asked for or where it cannot be."""
    from ftp.net import forward

    if run.settings.pack == "off":
        return False
    found: tuple[bool, str] = forward.can_pack(model.net, model.tokenizer)
    able, why = found
    if not able and run.settings.pack == "on":
        raise UserError(f"--pack on: this network cannot take packed rows: {why}", "--pack auto pads instead")
    if not able:
        run.tell(f"rows are padded, not packed: {why}")
    return able


def trial(run: Run, model: Model, loss: Loss, source: Any) -> None:
    """One row forward and backward before anything long: shapes fit, the loss is finite, something gets a gradient."""
    assert run.accelerator is not None
    with run.accelerator.autocast():
        out = loss.compute(loss.collate([source.any_row()]))
    if not math.isfinite(float(out.total.detach())):
        raise UserError(f"the loss of the first row is {float(out.total)}", "broken weights, or --precision fp32")
    if not out.total.requires_grad:
        raise UserError("the loss does not depend on any trainable weight", "see: ftp plan --plugins ...")
    out.total.backward()
    for module in filter(None, (model.net, loss.extra)):
        module.zero_grad(set_to_none=True)


def measure_baselines(
    run: Run, data: Data, model: Model, loss: Loss, encoded: Mapping[str, Any], held: Mapping[str, Any]
) -> list[Baseline]:
    """Majority class and a linear head on the untuned network where there are labels; else the untuned model itself, and for
    tags what each word's own past says."""
    from ftp.evaluate import baselines
    from ftp.evaluate.predict import predict

    if not run.settings.baselines or run.settings.streaming:
        return []
    found: dict[str, dict[str, Predictions]] = {}
    if run.task.head == "labels":
        found["majority class"] = baselines.majority(data, held)
        found["untuned, linear head"] = baselines.linear_probe(run, data, model, encoded, loss.collate, held)
    else:
        if run.task.head == "tags":
            found["each word's usual tag"] = baselines.word_memory(data, held)
        found["untuned"] = {name: predict(run, model, loss, rows, encoded[name], name) for name, rows in held.items()}
    return [Baseline(baseline, one.name, one.value, one.split, one.n)
            for baseline, predictions in found.items() if predictions
            for one in score(run, data, predictions, model)]


# --- verdicts ---


class Verdicts:
    """Asks for verdicts at each stage and keeps the last of each name. A check that raised has nothing more to say: what it
    noted before may be half of it."""

    def __init__(self, run: Run) -> None:
        self.run = run
        self.all: dict[str, Risk] = {}
        self.owner: dict[str, str] = {}  # whose each verdict is
        self.failed: set[str] = set()  # plugins that raised

    def latest(self) -> list[Risk]:
        return list(self.all.values())

    def names(self) -> dict[str, list[str]]:
        """The names of the verdicts of each plugin that gave any."""
        return {plugin: [name for name, owner in self.owner.items() if owner == plugin] for plugin in self.owner.values()}

    def check(
        self, stage: str, data: Data, model: Model | None = None, loss: Loss | None = None,
        predictions: Mapping[str, Predictions] | None = None, history: Sequence[Evaluation] = (),
    ) -> str | None:
        """Verdicts of one stage, told and recorded; a reason to end training, or None. Before training, a verdict that
        ends the run raises `RiskStop`. A check that raises is `not_run` from then on, and so is one that never spoke; only a
        user's mistake that it finds before training (`UserError`) ends the run."""
        run, silent = self.run, frozenset(self.failed)
        assert run.log is not None and run.out is not None

        def broken(plugin: Any, error: Exception) -> list[Risk]:
            if isinstance(error, UserError) and stage in ("data", "start"):
                raise error
            self.failed.add(plugin.name)
            before = [self.all[name] for name in self.names().get(plugin.name, ())]
            return [dataclasses.replace(risk, level="not_run", stage=stage, finding=(
                f"the check failed: {type(error).__name__}: {error}"
                + (f"; before that it said {risk.level}: {risk.finding}" if risk.level in ("warn", "stop") else "")))
                for risk in before or [Risk(plugin.name, "not_run", "")]]

        answers = run.hooks.each("check_risks", on_error=broken, run=run, stage=stage, data=data, model=model, loss=loss,
                                 predictions=predictions, history=history, log=run.log.lines)
        new = list[Risk]()
        for answer in answers:
            for risk in answer.value if answer.plugin not in silent else ():
                new.append(dataclasses.replace(risk, stage=risk.stage or stage, finding=run.hidden(risk.finding),
                                               evidence=run.hidden(risk.evidence)))
                self.owner[risk.name] = answer.plugin
        for one in run.hooks.picked if stage == "end" else ():
            if kind_of(one.cls) == "risk" and one.name not in self.owner.values():
                new.append(Risk(one.name, "not_run", "the check said nothing", stage=stage))
                self.owner[one.name] = one.name
        for risk in new:
            self.all[risk.name] = risk
            if risk.level in ("warn", "stop"):
                run.log.event("risk", level=risk.level, risk=risk.name, finding=risk.finding, stage=stage)
        if run.accelerator is None or run.accelerator.is_main_process:
            record.Folder(run.out).write_risks(self.latest())
        policy = run.settings.on_risk
        ending = [risk for risk in (self.latest() if stage == "end" else new)
                  if risk.level == "stop" or (policy != "warn" and risk.level == "warn")
                  or (policy == "fail" and self.owner[risk.name] in self.failed)]
        if not ending:
            return None
        if stage in ("data", "start"):
            raise RiskStop([Problem(f"risk {risk.name}: {risk.level}: {risk.finding}", "; ".join(risk.advice))
                            for risk in ending])
        return "; ".join(f"risk {risk.name}: {risk.finding}" for risk in ending)


# --- folder, saving ---


def find_checkpoint(run: Run) -> Path | None:
    """The newest whole checkpoint of a run that is resumed; None, and a clean log, where it was stopped before the first."""
    assert run.out is not None and run.log is not None
    notes: list[str] = []
    newest = checkpoint.newest(run.out / record.CHECKPOINTS, notes, record.run_id(run.out))
    if newest is None:
        run.log.truncate(0)
        notes.append("there is no whole checkpoint: training begins anew")
    for note in notes:
        run.tell(note)
    return newest


def open_folder(prepared: Prepared, accelerator: Any, resume: Path | None, stack: ExitStack, notes: list[str]) -> Path:
    """The run folder, claimed by the main process, with `notes` to tell; a mistake there ends every rank."""
    from accelerate.utils import broadcast_object_list

    told: list[Any] = [None]
    problem: UserError | None = None
    if accelerator.is_main_process:
        try:
            names = [one.name for one in prepared.picked if not one.found.default]
            folder = record.claim(resume or prepared.settings.out, names, resume=resume is not None, notes=notes)
            stack.callback(record.release, folder)
            if resume is not None:
                recipes.accept(folder, prepared)
            checkpoint.tidy(folder / record.CHECKPOINTS)
            told = [str(folder.resolve())]
        except UserError as error:
            problem = error
    if accelerator.num_processes > 1:
        broadcast_object_list(told)
    if problem is not None:
        raise problem
    if told[0] is None:
        raise UserError("the main process could not open the run folder")
    return Path(told[0])


def verify(run: Run, model: Model, encoded: Mapping[str, Any]) -> None:
    """Load what was saved with plain Transformers or PEFT in a fresh process and compare its answers with the network's."""
    from ftp import model as models
    from ftp.net import forward

    assert run.accelerator is not None and run.out is not None
    if not run.accelerator.is_main_process:
        return
    part = encoded["validation"].select(range(min(4, len(encoded["validation"]))))
    rows = [row["input_ids"] for row in part]
    inputs = forward.lay(rows, packed=False, pad_id=model.tokenizer.pad_token_id or 0)
    models.verify(model, run.out / record.ASIDE, inputs)


def quiet_libraries() -> None:
    """Progress bars and advice of the libraries below, which would tear the display apart."""
    quiet.before_imports()
    import datasets
    import transformers

    datasets.disable_progress_bars()
    transformers.logging.set_verbosity_error()
    transformers.utils.logging.disable_progress_bar()
