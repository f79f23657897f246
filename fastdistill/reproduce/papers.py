"""The papers: what the command line needs to know of each before its module is loaded."""

from __future__ import annotations

from typing import NamedTuple


class Paper(NamedTuple):
    """What a paper is about, and the data sets that it wants."""

    summary: str
    datasets: tuple[str, ...] = ()
    has_full: bool = False  # whether its module takes `full`, for the published sizes


PAPERS = {
    "mobahi": Paper("Mobahi, Farajtabar, Bartlett 2020: self-distillation amplifies regularisation, then collapses"),
    "borup": Paper("Borup, Andersen 2021: ground-truth targets dampen that; the limit is one ridge"),
    "pareek": Paper(
        "Pareek, Du, Oh 2024: when repeated self-distillation pays, and the UCI table",
        datasets=("air_quality", "airfoil", "appliances_energy"),
    ),
    "dang": Paper(
        "Dang, Patil, Rinaldo 2026: the best weight of one step, its sign, and tuning it in one shot",
        datasets=("air_quality", "communities_crime"),
    ),
    "safaryan": Paper(
        "Safaryan, Peste, Alistarh 2023: a teacher takes away part of the noise of SGD",
        datasets=("mnist",),
    ),
    "networks": Paper(
        "the networks of mobahi, borup and safaryan, on images of digits",
        datasets=("mnist",),
        has_full=True,
    ),
    "later": Paper("Nine papers of 2023 to 2026 on other teachers, synthetic labels and label noise: claim by claim"),
}
