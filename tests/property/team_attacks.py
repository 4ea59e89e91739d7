"""What a hostile store does with the objects that were ever stored: replay, withhold, squat, swap, damage."""

import hashlib
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final

from hypothesis import strategies as st

from tests.property.team_world import ENVIRONMENTS, MODELS, SLOTS
from vault.core import layout

Objects = dict[str, bytes]


@dataclass
class Hoard:
    """All that was ever stored, also by histories that were given up, and whole states of the store."""

    every: dict[str, list[bytes]] = field(default_factory=dict)
    states: list[Objects] = field(default_factory=list)

    def add(self, name: str, data: bytes) -> None:
        known = self.every.setdefault(name, [])
        if data not in known:
            known.append(data)

    def keep(self, state: Mapping[str, bytes]) -> None:
        for name, data in state.items():
            self.add(name, data)
        if len(self.states) < 12 and (not self.states or self.states[-1] != state):
            self.states.append(dict(state))

    def authority(self, *parts: str) -> list[str]:
        """List names that matter to decisions; `parts` are words of which a name holds one."""
        return sorted(name for name in self.every if any(part in name for part in parts or AUTHORITY))


AUTHORITY: Final = ("trust/", "channels/", "/approvals/", "/adoptions/", "manifest.json", "/sealed/")


def _choose(data: st.DataObject, names: Sequence[str], label: str) -> str | None:
    return data.draw(st.sampled_from(names), label) if names else None


def replay(data: st.DataObject, view: Objects, hoard: Hoard) -> None:
    """Put something back at its own name, over what lies there."""
    name = _choose(data, hoard.authority(), "replay")
    if name is not None:
        view[name] = data.draw(st.sampled_from(hoard.every[name]), "bytes")


def serve_a_state(data: st.DataObject, view: Objects, hoard: Hoard) -> None:
    """Serve an older state, or one of another history, as a whole or only some kind of object."""
    state = data.draw(st.sampled_from(hoard.states), "state")
    part = data.draw(st.sampled_from(("", "channels/", "trust/policy/", "trust/heads/", "trust/", "models/")))
    for name in [name for name in view if name.startswith(part)]:
        del view[name]
    view.update({name: content for name, content in state.items() if name.startswith(part)})


def withhold(data: st.DataObject, view: Objects, hoard: Hoard) -> None:
    """Hide one object, or all of one folder."""
    name = _choose(data, [name for name in hoard.authority() if name in view], "withhold")
    if name is not None:
        folder = name.rpartition("/")[0] if data.draw(st.booleans(), "the folder") else name
        for other in [other for other in view if other.startswith(folder)]:
            del view[other]


def withhold_the_newest(data: st.DataObject, view: Objects, hoard: Hoard) -> None:
    """Hide the end of a channel, of the policies or of the heads."""
    folders = sorted(
        {n.rpartition("/")[0] + "/" for n in view if n.startswith(("channels/", "trust/p", "trust/h"))}
    )
    folder = _choose(data, folders, "withhold the newest of")
    if folder is not None:
        for name in sorted((n for n in view if n.startswith(folder)), reverse=True)[
            : data.draw(st.integers(1, 3))
        ]:
            del view[name]


def squat(data: st.DataObject, view: Objects, hoard: Hoard) -> None:
    """Put garbage, or something genuine, at a number that is free."""
    folders = [
        f"channels/{env}/{slot}/{model}/@/" for env in ENVIRONMENTS for slot in SLOTS for model in MODELS
    ]
    folder = data.draw(
        st.sampled_from(["trust/policy/", *(f"trust/heads/{env}/" for env in ENVIRONMENTS), *folders])
    )
    name = folder + layout.numbered(data.draw(st.integers(1, 9), "number"))
    others = hoard.authority(folder.partition("/")[0])
    other = _choose(data, others, "genuine")
    junk = b"garbage" if other is None or data.draw(st.booleans(), "garbage") else hoard.every[other][-1]
    view.setdefault(name, junk)


def rename(data: st.DataObject, view: Objects, hoard: Hoard) -> None:
    """Put a genuine document where another of its kind belongs: other slot, model, version, environment."""
    name = _choose(
        data, hoard.authority("channels/", "/approvals/", "/adoptions/", "manifest.json", "heads/"), "from"
    )
    if name is None:
        return
    content = data.draw(st.sampled_from(hoard.every[name]), "bytes")
    model = "nepse/a" if "/nepse/a/" in name else "churn"
    swaps: dict[str, str] = {
        f"/{model}/@/": f"/{data.draw(st.sampled_from(MODELS))}/@/",
        "/main/": "/b/",
        "/b/": "/main/",
        "/prod/": f"/{data.draw(st.sampled_from(ENVIRONMENTS))}/",
        "/staging/": "/prod/",
    }
    chosen = data.draw(st.sampled_from(sorted(swaps)), "swap")
    renamed = name.replace(chosen, swaps[chosen])
    if data.draw(st.booleans(), "another version") and "models/" in renamed:
        renamed = re.sub(r"/@/\d+/", f"/@/{data.draw(st.integers(1, 4), 'version')}/", renamed)
    view[renamed] = content


def swap(data: st.DataObject, view: Objects, hoard: Hoard) -> None:
    """Exchange two objects of one kind."""
    left = _choose(data, [name for name in hoard.authority() if name in view], "left")
    if left is not None:
        alike = [
            n for n in sorted(view) if n.partition("/")[0] == left.partition("/")[0] and n.endswith(".json")
        ]
        right = data.draw(st.sampled_from(alike), "right") if alike else left
        view[left], view[right] = view[right], view[left]


def damage(data: st.DataObject, view: Objects, hoard: Hoard) -> None:
    """Flip a bit of anything."""
    name = data.draw(st.sampled_from(sorted(view)), "damage")
    content = bytearray(view[name])
    if content:
        content[data.draw(st.integers(0, len(content) - 1), "byte")] ^= 1 << data.draw(
            st.integers(0, 7), "bit"
        )
        view[name] = bytes(content)


def vote_twice(data: st.DataObject, view: Objects, hoard: Hoard) -> None:
    """Copy an approval under a second name, or spell its envelope so that it has another digest."""
    name = _choose(data, hoard.authority("/approvals/", "/adoptions/"), "vote")
    if name is not None:
        content = hoard.every[name][-1]
        start = content.index(b'"signatures":[') + len(b'"signatures":[')
        content = content[:-2] + b"," + content[start:-2] + b"]}"  # its signatures, twice
        view[f"{name.rpartition('/')[0]}/{hashlib.sha256(content).hexdigest()}.json"] = content


def strip(data: st.DataObject, view: Objects, hoard: Hoard) -> None:
    """Take signatures off a document, or exchange its list for that of another."""
    name = _choose(data, [name for name in hoard.authority() if name in view], "strip")
    if name is not None and b'"signatures":[' in view[name]:
        start = view[name].index(b'"signatures":[')
        other = _choose(
            data, [n for n in hoard.authority() if b'"signatures":[' in hoard.every[n][-1]], "list"
        )
        tail = b'"signatures":[]}'
        if other is not None and data.draw(st.booleans(), "another's"):
            tail = hoard.every[other][-1][hoard.every[other][-1].index(b'"signatures":[') :]
        view[name] = view[name][:start] + tail


ATTACKS: Final[dict[str, Callable[[st.DataObject, Objects, Hoard], None]]] = {
    "replay": replay,
    "serve a state": serve_a_state,
    "serve another state": serve_a_state,
    "withhold": withhold,
    "withhold the newest": withhold_the_newest,
    "withhold the newest again": withhold_the_newest,
    "squat": squat,
    "rename": rename,
    "strip": strip,
    "swap": swap,
    "damage": damage,
    "vote twice": vote_twice,
}
