"""Which model is meant: a folder, a model that an installed package offers, or a hub id."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from pathlib import Path
from typing import TypedDict

from ftp.contract import install_command
from ftp.errors import Problem, UserError, nearest
from ftp.plugins import names
from ftp.plugins.offers import OfferPoint, defaults, offers
from ftp.types import Offer


@dataclass(frozen=True)
class Source:
    """Where a model comes from; exactly one of `folder` and `hub_id` is set.

    Attributes:
        name: what the user calls it.
        folder: where it lies on this machine; None: on the hub.
        hub_id: its name on the hub; None: it is a folder.
        revision: the commit of a hub model; None: not known.
        offer: what an installed package says of it; None: no package brought it.
        package: name and version of that package; empty: no package brought it.
        offline: whether the hub cannot be reached, and its cache has the model.
    """

    name: str
    folder: Path | None = None
    hub_id: str | None = None
    revision: str | None = None
    offer: Offer | None = None
    package: str = ""
    offline: bool = False

    @property
    def where(self) -> str:
        """What `from_pretrained` takes: the absolute folder, or the hub id."""
        return str(self.folder) if self.folder is not None else str(self.hub_id)

    @property
    def local(self) -> bool:
        """Whether no network is needed, so that none is asked."""
        return self.folder is not None or self.offline


def find(name: str | None, head: str, revision: str | None = None) -> Source:
    """The model that `--model` means. A folder goes before an offered name, and that before a hub id.

    Args:
        name: a folder, the name of an offered model, or a hub id; None: the default that an installed package offers.
        head: the head for which a default is looked for.
        revision: the state of a hub model: a branch, a tag or a commit; None: the newest.

    Raises:
        UserError: there is nothing of the name, two packages offer it, or none (or more than one) offers a default for the head.
    """
    source = _find(name, head, revision)
    if revision and source.folder is not None:
        raise UserError(f"--revision {revision}: {source.name} is {source.package or 'a folder'}, which has no revisions",
                        "leave out --revision, or name a hub id with --model")
    return source


def _find(name: str | None, head: str, revision: str | None) -> Source:
    """What `find` gives, of which the revision is not yet checked."""
    known = offers()
    if name is None:
        return _default(known, head)
    folder = _existing(name)
    if folder is not None:
        return _folder(name, folder)
    offered = names.lookup(name, known, lambda point: point[1])
    if offered:
        return _offered(name, offered)
    return _hub(name, revision, list(known))


def check_files(source: Source) -> None:
    """Compare the files of an offered model with the digests that its package lists. Raises `UserError` where one differs."""
    if source.offer is None or source.folder is None:
        return
    problems = []
    # every file that differs is named at once
    for name, listed in source.offer.sha256.items():
        file = source.folder / name
        if not file.is_file():
            problems.append(Problem(f"model {source.name}: {source.package} lists {name}, but the file is missing"))
            continue
        with file.open("rb") as stream:
            digest = hashlib.file_digest(stream, "sha256").hexdigest()
        if digest != listed.lower():
            problems.append(Problem(f"model {source.name}: {name} has sha256 {digest}, but {source.package} lists {listed}",
                                    "the file was changed or damaged after it was packaged"))
    if problems:
        distribution = source.package.split()[0]
        raise UserError([*problems, Problem("the model was not loaded", "install the package again",
                                            install_command(distribution, "--reinstall"))])


def _default(known: dict[str, list[OfferPoint]], head: str) -> Source:
    fitting = [_from_offer(*offered) for offered in defaults(known, head)]
    if not fitting:
        fix = "name a folder, an offered name or a hub id"
        raise UserError(f"--model: no installed package offers a model for head '{head}'",
                        f"{fix}; ftp-starter has a small one for it", "ftp install starter")
    if len(fitting) > 1:
        names = " and ".join(f"{source.name} ({source.package})" for source in fitting)
        raise UserError(f"--model: {len(fitting)} models want to be the default for head '{head}': {names}", "name one of them",
                        f"--model {fitting[0].name}")
    return fitting[0]


def _offered(name: str, points: list[OfferPoint]) -> Source:
    if len(points) > 1:
        distributions = [distribution for _, distribution, _ in points]
        packages = [f"{distribution} {version}".strip() for _, distribution, version in points]
        raise UserError([names.clash(f"--model {name}", name, distributions, packages)])
    ask, distribution, version = points[0]
    return _from_offer(name, ask(), f"{distribution} {version}".strip())


def _from_offer(name: str, offer: Offer, package: str) -> Source:
    if not offer.folder.is_dir():
        raise UserError(f"model {name}: {package} says it is in {offer.folder}, but there is no such folder",
                        "install the package again", install_command(package.split()[0], "--reinstall"))
    return Source(name, folder=offer.folder.resolve(), offer=offer, package=package)


def _existing(name: str) -> Path | None:
    """What lies where a name says, or None. Raises `UserError` for a name that no path can have."""
    try:
        path = Path(name).expanduser()
        return path if path.exists() else None
    except (OSError, RuntimeError) as error:  # too long, or ~ of an unknown user
        reason = error.strerror if isinstance(error, OSError) else error
        raise UserError(f"--model {name}: {reason}", "name a folder, an offered model or a hub id", "ftp plugins") from error


def _folder(name: str, folder: Path) -> Source:
    """A model in a folder, or in the folder of the run that made it."""
    if not folder.is_dir():
        raise UserError(f"--model {name}: this is a file; a model is a folder with config.json, weights and tokenizer",
                        f"name its folder: --model {folder.parent}")
    # a run's folder stands for its model
    inner = folder / "model"
    has_model = (inner / "adapter_config.json").exists() or (inner / "config.json").exists()
    if has_model and not (folder / "config.json").exists():
        folder = inner
    return Source(name, folder=folder.resolve())


def _hub(name: str, revision: str | None, offered: list[str]) -> Source:
    """A hub id whose configuration can be read, over the network or from the cache, pinned to its commit."""
    hint = nearest(name, offered) or nearest(name.split("/")[-1], [known.split("/")[-1] for known in offered])
    listed = f"offered: {', '.join(offered) or 'none'}. {hint}".strip()
    if name.startswith((".", "/", "~")) or name.count("/") > 1 or not name:
        raise UserError(f"--model {name}: there is no such folder", listed)
    from huggingface_hub.errors import (
        GatedRepoError,
        HFValidationError,
        LocalEntryNotFoundError,
        RepositoryNotFoundError,
        RevisionNotFoundError,
    )

    reachable = _reachable()
    # one small file says whether there is such a model, and in which state
    try:
        config = _hub_config(name, revision, reachable)
    except HFValidationError as error:
        raise UserError(f"--model {name}: neither a folder, nor offered by a package, nor a hub id", listed) from error
    except GatedRepoError as error:
        raise UserError(f"--model {name}: its owner asks for an agreement before it can be downloaded",
                        f"agree at https://huggingface.co/{name}, then log in", "hf auth login") from error
    except RevisionNotFoundError as error:
        raise UserError(f"--revision {revision}: {name} has no such revision on the hub") from error
    except LocalEntryNotFoundError as error:
        state = f" in the state --revision {revision}" if revision else ""
        raise UserError(f"--model {name}: neither a folder, nor offered by a package, nor in the cache of the hub{state}, and "
                        "the hub cannot be reached", listed) from error
    except RepositoryNotFoundError as error:
        raise UserError(f"--model {name}: neither a folder, nor offered by a package, nor on the hub (or it is private)",
                        listed, "hf auth login") from error
    except OSError as error:
        raise UserError(f"--model {name}: neither a folder, nor offered by a package; the hub says: {_first(error)}",
                        listed) from error
    commit = config.parent.name  # .../snapshots/<commit>/config.json: everything is read from this one state
    return Source(name, hub_id=name, revision=commit, offline=not reachable)


def _hub_config(name: str, revision: str | None, reachable: bool) -> Path:
    """The configuration of a hub model in the cache, downloaded where the hub answers. Raises the hub's own errors."""
    from huggingface_hub import hf_hub_download, try_to_load_from_cache
    from huggingface_hub.errors import LocalEntryNotFoundError

    if reachable:
        return Path(hf_hub_download(name, "config.json", revision=revision))
    cached = try_to_load_from_cache(name, "config.json", revision=revision)
    # anything else stands for a file that is not there
    if not isinstance(cached, str):
        raise LocalEntryNotFoundError("not in the cache")
    return Path(cached)


def _reachable() -> bool:
    """Whether the hub answers. Asked once, as its own client tries for half a minute before it says no."""
    from huggingface_hub import constants, get_session

    if constants.HF_HUB_OFFLINE:
        return False
    try:
        get_session().head(constants.ENDPOINT, timeout=5)
    except Exception:
        return False
    return True


def _first(error: BaseException) -> str:
    return (str(error).strip() or type(error).__name__).split("\n")[0]


class ReadingOptions(TypedDict, total=False):
    """Arguments of `from_pretrained`."""

    trust_remote_code: bool
    local_files_only: bool
    revision: str


def reading_options(source: Source, trust_remote_code: bool) -> ReadingOptions:
    """What every `from_pretrained` of a source is called with."""
    options = ReadingOptions(trust_remote_code=trust_remote_code)
    if source.local:
        options["local_files_only"] = True
    if source.hub_id is not None and source.revision:
        options["revision"] = source.revision
    return options
