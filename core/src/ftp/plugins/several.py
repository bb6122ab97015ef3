"""Several domains in one run: which of them give the same splits, and whether its options fit them. Imports nothing heavy."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence

from ftp.errors import Problem
from ftp.plugin_info import Picked
from ftp.plugins.declare import answers_hook, implementations


def joined_domains(picked: Sequence[Picked]) -> list[Picked]:
    """The domains whose rows are joined, as another one gives the same split; none where each split has one source."""
    domains = [plugin for plugin in picked if answers_hook(plugin.cls, "load_data")]
    sources = Counter[str]()  # split -> number of domains that give it
    for domain in domains:
        sources.update(domain.splits)
    shared = {split for split, number in sources.items() if number > 1}
    return [domain for domain in domains if shared.intersection(domain.splits)]


def problems_with(picked: Sequence[Picked], values: Mapping[str, object]) -> list[Problem]:
    """What is wrong with the options of a run for its domains.

    Args:
        values: every option by dotted key.
    """
    domains = joined_domains(picked)
    names = [domain.name for domain in domains]
    shares = values.get("domain_shares")
    if not domains:
        if not shares:
            return []
        return [Problem("--mix: this run has one source of training rows, and it mixes several",
                        "name several domains in --plugins, or leave it out; the plugin mix puts general rows beside one domain")]
    problems = []
    listed = ", ".join(names)
    if values.get("data") is not None:
        own = " ".join(f"--{name}.data FILE" for name in names)
        what = f"--data {values['data']}: this run has several domains ({listed}); whose rows these are is not known"
        problems.append(Problem(what, f"name the rows of each: {own} (one without has its sample)"))
    if values.get("streaming"):
        problems.append(Problem(f"--streaming: this run has several domains ({listed}), and streams are not joined",
                                "leave out --streaming, or all domains but one"))
    if isinstance(shares, tuple) and shares:
        problems += _problems_with_shares(picked, domains, shares)
    return problems


def _problems_with_shares(picked: Sequence[Picked], domains: Sequence[Picked], pairs: Sequence[str]) -> list[Problem]:
    """What is wrong with `--mix`: it gives each domain with training rows a share, and core's own order of rows keeps them."""
    from ftp.data.domains import read_shares  # readers of rows take a fifth of the time of `ftp plugins`

    shares, problems = read_shares(pairs)
    names = [domain.name for domain in domains if "train" in domain.splits]
    if set(shares) != set(names) and all(shares):
        example = ",".join(f"{name}={1 / len(names):.2g}" for name in names)
        problems.append(Problem(f"--mix names {', '.join(shares)}; the domains of this run with training rows are "
                                f"{', '.join(names)}", "give each of them a share", f"--mix {example}"))
    for plugin in picked:
        options = implementations(plugin.cls).get("order_rows")
        if options is not None and not options.get("trylast"):  # core's own is asked last
            what = f"--mix: plugin '{plugin.name}' ({plugin.found.package}) says which rows make an update"
            problems.append(Problem(f"{what}, so that shares would not be kept", f"leave out --mix, or {plugin.name}"))
    return problems
